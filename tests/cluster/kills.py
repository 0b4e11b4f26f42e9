"""SIGKILL at random moments while the API changes things: every change that was answered is there."""
import http.client
import os
import random
import signal
import threading

from fleet import *  # noqa: F403

ROUNDS, CHANGES, NAMES = 100, 1000, 25


class Ledger:
    """What each document may hold: one value for sure, or two while a request was left without an answer.

    A service's value is an environment variable in its manifest; of a secret only its being there can be read.
    """

    def __init__(self, controller):
        self.controller = controller
        self.possible = {(tree, f"s{number}"): {None} for tree in ("services", "secrets") for number in range(NAMES)}

    def change(self, key, value):
        """One request: None removes. True when it was answered."""
        tree, name = key
        path = f"/v1/{tree}/{name}"
        try:
            if value is None:
                status, answer = self.controller.api("DELETE", path, timeout=5)
            else:
                status, answer = self.controller.api("PUT", path, document(tree, name, value), timeout=5)
        except ConnectionRefusedError:
            return False  # gantryd was gone before the request
        except (OSError, http.client.HTTPException):
            self.possible[key].add(value)
            return False
        if not 200 <= status < 300:
            raise Failure(f"{path}, {value}: expected 2xx, got {status}: {answer}")
        self.possible[key] = {value}
        return True

    def read(self, key):
        tree, name = key
        if tree == "secrets":
            there = {item["name"] for item in self.controller.get("/v1/secrets")["items"]}
            return "there" if name in there else None
        status, answer = self.controller.api("GET", f"/v1/services/{name}")
        if status not in (200, 404):
            raise Failure(f"GET of service {name}: {status}: {answer}")
        if status == 404 or answer["state"] == "removing":  # taken away, and what it ran may still end
            return None
        return answer["document"]["container"]["env"]["VALUE"]

    def compare(self):
        """Every document holds what it may; from now on what it holds is sure. How many requests had no answer."""
        wrong = {}
        for key, possible in self.possible.items():
            value = self.read(key)
            allowed = possible if key[0] == "services" else {v and "there" for v in possible}
            if value not in allowed:
                wrong[" ".join(key)] = f"holds {value}, expected one of {possible}"
            self.possible[key] = {value}
        if wrong:
            raise Failure(f"changes were lost or came back: {wrong}")

    def sure(self, key):
        return next(iter(self.possible[key]))


def document(tree, name, value):
    if tree == "secrets":
        return {"value": value}
    return manifest(name, nodes=["Nowhere"], port=None, container={"env": {"VALUE": value}})


def kill_later(controller, delay_s):
    timer = threading.Timer(delay_s, os.kill, (controller.daemon_pid(), signal.SIGKILL))
    timer.start()
    return timer


def kills():
    """100 kills by SIGKILL at random moments of 1,000 API changes: every change answered 2xx is there, nothing moves."""
    seed = int.from_bytes(random.randbytes(4), "big")
    print(f"seed {seed}")
    chance = random.Random(seed)
    with fleet(nodes=["SNode1"]) as c:
        up(c)
        deploy(c, manifest(nodes=["SNode1"]))
        c.wait_ready("axis_server")
        controller, before = c.controller(), processes(c)
        ledger = Ledger(controller)
        moments = sorted(chance.sample(range(CHANGES), ROUNDS))
        sent = answered = killed = 0
        while sent < CHANGES or moments:
            killer = None
            if moments and sent >= moments[0]:
                moments.pop(0)
                killer = kill_later(controller, chance.random() * 0.02)
            while True:
                key = chance.choice(list(ledger.possible))
                remove = chance.random() < 0.3 and ledger.sure(key) is not None
                was_answered = ledger.change(key, None if remove else f"value {sent}")
                sent += 1
                answered += was_answered
                if not killer or not was_answered:
                    break
            if killer:
                killer.join()
                wait_for(lambda: controller.daemon.poll() is not None, 10, "gantryd is dead after SIGKILL")
                killed += 1
                controller.start_daemon()
                wait_for(controller.ready, 15, "the controller answers after a kill")
                ledger.compare()
            elif not was_answered:
                raise Failure(f"seed {seed}: no answer, though nobody killed gantryd:\n{controller.log_tail()}")
        expect("kills", ROUNDS, killed)
        if answered < CHANGES - ROUNDS:
            raise Failure(f"seed {seed}: {answered} of {sent} changes were answered, expected at least {CHANGES - ROUNDS}")
        ledger.compare()
        names = {name for (tree, name), possible in ledger.possible.items() if tree == "services" and possible != {None}}
        wait_for(lambda: {i["name"] for i in controller.get("/v1/services")["items"]} == {"axis_server", *names}, 10,
                 lambda: f"only {sorted(names)} are left: {controller.get('/v1/services')['items']}")
        expect("processes", before, processes(c))
        print(f"{sent} changes, {answered} answered, {killed} kills")
