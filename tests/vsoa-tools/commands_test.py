#!/usr/bin/env python3
"""Every command of vsoa against real servers on the loopback; commands_test.py [PART OF A NAME]."""
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest

from tool import ROOT, documents, main, run, server, until, vsoa

REFUSED = "127.0.0.1:1"


class Case(unittest.TestCase):
    def check(self, done, status, said="", where="stderr"):
        self.assertEqual(done.returncode, status, f"{done.args}\n{done.stdout}\n{done.stderr}")
        self.assertIn(said, getattr(done, where))
        return done


class Call(Case):
    def test_an_answer_is_printed_param_and_data(self):
        with server() as at:
            done = self.check(run("call", at + "/echo", "--param", '{"a": 1}', "--data", "-", given=b"abc"), 0)
            self.assertEqual(done.stdout, '{"a": 1} [3 bytes: abc]\n')

    def test_json_has_every_field_of_the_answer_on_one_line(self):
        with server() as at:
            done = self.check(run("call", at + "/echo", "--json", "--set", "--param", '{\n "a": [1, "x\\n y"]}', "--data", "-",
                                  given=b"\x00\xff"), 0)
            [answer] = documents(done.stdout)
            self.assertGreater(answer.pop("ms"), 0)
            self.assertEqual(answer, {"server": at, "url": "/echo", "method": "set", "status": 0, "status_text": "success",
                                      "param": {"a": [1, "x\n y"]}, "data_hex": "00ff"})

    def test_the_data_of_an_answer_goes_to_a_file_as_it_is(self):
        sent = os.urandom(200_000)
        with server() as at, tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "data"
            self.check(run("call", at + "/echo", "--data", "-", "-o", path, given=sent), 0)
            self.assertEqual(path.read_bytes(), sent)

    def test_a_status_is_named_and_decides_how_it_ends(self):
        with server() as at:
            for status, exit_status, word in ((1, 77, "wrong password"), (2, 1, "bad arguments"), (3, 3, "invalid url"),
                                              (4, 4, "no responding"), (5, 77, "no permissions"), (130, 1, "status 130")):
                done = self.check(run("call", f"{at}/status/{status}", "--json"), exit_status)
                self.assertEqual(json.loads(done.stdout)["status_text"], word)
                self.assertIn(f"answered status {status}", json.loads(done.stderr)["error"]["message"])

    def test_the_port_of_an_offered_stream_is_told(self):
        with server() as at:
            answer = json.loads(self.check(run("call", at + "/stream", "--json"), 0).stdout)
            self.assertGreater(answer["stream_port"], 1023)

    def test_a_server_that_does_not_answer_is_given_up(self):
        with server() as at:
            self.check(run("call", at + "/silent", "--timeout", "200ms"), 4, "no answer from " + at)

    def test_a_server_that_closes_the_connection_is_told(self):
        with server() as at:
            self.check(run("call", at + "/drop"), 5, "closed the connection")

    def test_text_of_an_answer_cannot_drive_the_terminal(self):
        with server() as at:
            done = self.check(run("call", at + "/echo", "--any-param", "--param", "a\x1b[31mb"), 0)
            self.assertEqual(done.stdout, "a [31mb\n")
            answer = json.loads(run("call", at + "/echo", "--any-param", "--param", "a\x1b[31mb", "--json").stdout)
            self.assertEqual(answer["param_text"], "a\x1b[31mb")

    def test_bytes_that_are_no_text_come_as_legal_json(self):
        with server() as at:
            done = run("call", at + "/echo", "--any-param", "--param", b"\"\xff\xed\xa0\x80\"".decode("latin-1"), "--json")
            self.check(done, 0)
            json.loads(done.stdout)

    def test_what_fits_no_packet_is_refused(self):
        with server() as at:
            self.check(run("call", at + "/echo", "--data", "-", given=b"x" * 262_120), 1, "longer than a packet")
            self.check(run("call", at + "/echo", "--data", "-", given=b"x" * 262_125), 65, "longer than 262124 bytes")
            self.check(run("call", at + "/echo", "--data", "/nowhere/at/all"), 3, "No such file")


class Password(Case):
    def test_it_comes_from_a_file_the_environment_or_the_command_line(self):
        with server("secret") as at, tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "password"
            path.write_text("secret\n")
            self.check(run("call", at + "/echo", "--password", "secret"), 0)
            self.check(run("call", at + "/echo", "--password-file", path), 0)
            self.check(run("call", at + "/echo", environment={"VSOA_PASSWORD": "secret"}), 0)
            # What is written counts more.
            self.check(run("call", at + "/echo", "--password", "other", environment={"VSOA_PASSWORD": "secret"}), 77)

    def test_a_wrong_or_missing_one_is_told(self):
        with server("secret") as at:
            for words in (["--password", "wrong"], []):
                for command in (["call", at + "/echo"], ["sub", at + "/x"], ["ping", at], ["bench", at]):
                    self.check(run(*command, *words), 77, "wrong password")

    def test_a_file_that_is_not_there_and_two_ways_at_once_are_refused(self):
        self.check(run("ping", REFUSED, "--password-file", "/nowhere/at/all"), 3, "--password-file")
        self.check(run("ping", REFUSED, "--password-file", "a", "--password", "b"), 2, "excludes")


class Names(Case):
    def test_a_name_a_url_and_an_address_reach_the_same_server(self):
        with vsoa("pub", "/axis", "--json", "--name", "axis_server", "--param", "[7]", "--position", "127.0.0.1:0") as pub:
            at = json.loads(pub.line())["listening"]
            position = json.loads(pub.line())["position_server"]
            for url in ("vsoa://axis_server/axis", "VSOA://AXIS_SERVER/axis", "axis_server/axis", "vsoa://axis_server:99/axis",
                        at + "/axis", "vsoa://" + at + "/axis", "localhost:" + at.split(":")[1] + "/axis"):
                self.assertEqual(self.check(run("call", url, "--pos", position), 0).stdout, "[7]\n")
            self.check(run("call", "axis_server/axis", environment={"VSOA_POS_SERVER": position}), 0)
            done = self.check(run("resolve", "vsoa://axis_server", "--pos", position, "--json"), 0)
            self.assertEqual(json.loads(done.stdout), {"name": "axis_server", "address": "127.0.0.1", "ip_version": 4,
                                                       "port": int(at.split(":")[1]), "tls": False})
            self.assertEqual(self.check(run("resolve", "axis_server", "--pos", position), 0).stdout, at + "\n")
            self.check(run("resolve", "-6", "axis_server", "--pos", position), 3, "no service of that name")
            self.check(run("resolve", "nobody", "--pos", position), 3, "no service of that name")
            # A position server that is dead costs no more than its share of the time.
            self.check(run("resolve", "axis_server", "--pos", f"127.0.0.1:1,{position}"), 0)

    def test_a_service_that_wants_tls_is_told(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as position:
            position.bind(("127.0.0.1", 0))
            with vsoa("call", "safe/x", "--pos", f"127.0.0.1:{position.getsockname()[1]}") as call:
                _, asker = position.recvfrom(2048)
                position.sendto(b'{"name":"safe","domain":2,"addr":"127.0.0.1","port":1,"security":true}', asker)
                self.assertIn("TLS", call.line())
                self.assertEqual(call.process.wait(10), 1)

    def test_no_position_server_is_told_with_what_to_do(self):
        self.check(run("resolve", "nobody", "--pos", "127.0.0.1:1", "--timeout", "500ms"), 5, "no position server answered")
        self.check(run("resolve", "nobody", "--pos", "gateway"), 2, "--pos: expected IP:PORT")
        if not pathlib.Path("/etc/vsoa.pos").exists():
            self.check(run("resolve", "nobody"), 5, "VSOA_POS_SERVER")

    def test_what_is_no_server_is_refused_before_anything_is_sent(self):
        for url, why in (("http://a/b", "scheme"), ("127.0.0.1/x", "needs a port"), ("127.0.0.1:0/x", "port from 1"),
                         ("127.0.0.1:x", "port from 1"), ("::1:30", "brackets"), ("/x", "no server"), (":3002/x", "no server"),
                         ("[::1/x", "brackets"), ("", ""), ("vsoa://", "no server"), ("n" * 600 + "/x", "longer than 512"),
                         ("127.0.0.1:70000/x", "port from 1")):
            self.check(run("call", url), 2, why)
        self.check(run("call", "no-such-host.invalid:3002/x"), 3, "cannot find the host")


class Sub(Case):
    def test_what_is_published_is_printed_until_the_count(self):
        with server() as at:
            with vsoa("sub", at + "/news/", "/quick/", "-n", "3") as sub:
                self.wait_for_subscriber(at, "/quick/b")
                self.publish(at, "/news/a", '{"roll": 1}')
                self.assertEqual(sub.line_with("/news/a"), '/news/a {"roll": 1}')
                self.publish(at, "/quick/b", "2")
                self.assertEqual(sub.line_with("/quick/b"), "/quick/b 2")
                run("call", at + "/news/c", "--data", "-", given=b"\x00\x01")
                self.assertEqual(sub.line_with("/news/c"), "/news/c [2 bytes: 0001]")
                self.assertEqual(sub.process.wait(10), 0)

    def wait_for_subscriber(self, at, url):
        until(lambda: run("call", f"{at}/subscribed{url}").returncode == 0, f"somebody is subscribed to {url}")

    def publish(self, at, url, param):
        self.check(run("call", at + url, "--param", param), 0)

    def test_json_tells_publishes_over_udp_and_datagrams_apart(self):
        with server() as at, vsoa("sub", "--json", at, "-n", "3") as sub:
            self.wait_for_subscriber(at, "/news/x")
            seen = []
            for url in ("/news/x", "/quick/x", "/datagram"):
                self.publish(at, url, "[1]")
                message = json.loads(sub.line())
                seen.append((message["url"], message["type"], message["quick"], message["param"], message["server"]))
            self.assertEqual(seen, [("/news/x", "publish", False, [1], at), ("/quick/x", "publish", True, [1], at),
                                    ("/datagram", "datagram", False, [1], at)])

    def test_topics_of_several_servers_come_in_one_stream(self):
        with server() as one, server() as two, vsoa("sub", "--json", one + "/news/", two + "/news/", "-n", "2") as sub:
            for at in (one, two):
                self.wait_for_subscriber(at, "/news/x")
                self.publish(at, "/news/x", "1")
                self.assertEqual(json.loads(sub.line())["server"], at)

    def test_its_time_ends_it_and_too_few_messages_are_told(self):
        with server() as at:
            self.check(run("sub", at + "/news/", "--duration", "200ms"), 0)
            self.check(run("sub", at + "/news/", "--duration", "200ms", "-n", "2"), 4, "expected 2 messages, got 0")
        with server() as at, vsoa("sub", at + "/news/") as sub:
            self.wait_for_subscriber(at, "/news/x")
            self.assertEqual(sub.stop(), 130)

    def test_it_connects_again_where_the_name_moved_to(self):
        words = ["pub", "/axis", "--json", "--name", "mover", "--every", "10ms"]
        with vsoa(*words, "--param", "1", "--position", "127.0.0.1:0") as pub:
            pub.line()
            position = json.loads(pub.line())["position_server"]
            with vsoa("sub", "mover/axis", "--pos", position, "--reconnect", "--timeout", "1s") as sub:
                sub.line_with("/axis 1")
                pub.stop()
                with vsoa(*words, "--param", "2", "--position", position):
                    sub.line_with("/axis 2")

    def test_a_lost_server_ends_it_without_reconnect(self):
        with vsoa("pub", "/axis", "--json", "--every", "10ms", "--param", "1") as pub:
            at = json.loads(pub.line())["listening"]
            with vsoa("sub", at + "/axis") as sub:
                sub.line_with("/axis 1")
                pub.stop()
                sub.line_with("closed the connection")
                self.assertEqual(sub.process.wait(10), 5)


class Pub(Case):
    def test_it_publishes_only_while_somebody_is_subscribed_and_ends_at_the_count(self):
        with vsoa("pub", "/axis", "--json", "--param", '{"roll": 1}', "--every", "1ms", "-n", "5", "--password", "p") as pub:
            at = json.loads(pub.line())["listening"]
            self.assertEqual(self.check(run("call", at + "/axis", "--password", "p"), 0).stdout, '{"roll": 1}\n')
            self.check(run("call", at + "/axis", "--set", "--password", "p"), 77, "no permissions")
            done = self.check(run("sub", at + "/axis", "-n", "5", "--json", "--password", "p"), 0)
            self.assertEqual([m["param"] for m in documents(done.stdout)], [{"roll": 1}] * 5)
            self.assertEqual([json.loads(line)["published"] for line in pub.rest()], [1, 2, 3, 4, 5])
            self.assertEqual(pub.process.wait(10), 0)

    def test_lines_of_standard_input_are_published_as_they_come(self):
        with vsoa("pub", "/axis", "--json", "--param", "-") as pub:
            at = json.loads(pub.line())["listening"]
            with vsoa("sub", at + "/axis") as sub:
                for line in ('{"n": 1}', '{"n": 2}'):
                    pub.tell(line + "\n\n")
                    self.assertEqual(sub.line(), "/axis " + line)
                pub.process.stdin.write("3")
                pub.process.stdin.close()
                self.assertEqual(sub.line(), "/axis 3")
                self.assertEqual(pub.process.wait(10), 0)

    def test_quick_publishes_go_over_udp(self):
        with vsoa("pub", "/axis", "--json", "--param", "1", "--every", "10ms", "--quick", "--data", "/dev/null") as pub:
            at = json.loads(pub.line())["listening"]
            [message] = documents(self.check(run("sub", at + "/axis", "-n", "1", "--json"), 0).stdout)
            self.assertTrue(message["quick"])

    def test_wrong_input_is_refused(self):
        self.check(run("pub", "axis"), 2, "expected /PATH")
        self.check(run("pub", "/a", "--param", "{a}"), 65, "expected JSON")
        self.check(run("pub", "/a", "--listen", "nowhere"), 2, "--listen")
        self.check(run("pub", "/a", "--every", "0"), 2, "--every")
        self.check(run("pub", "/a", "--param", "-", given=b"{a}\n"), 65, "expected JSON")
        with server() as at:
            self.check(run("pub", "/a", "--listen", at), 1, "choose another port")


class Ping(Case):
    def test_each_ping_and_a_summary_are_printed(self):
        with server() as at:
            done = self.check(run("ping", at, "-n", "3", "--interval", "1ms"), 0)
            self.assertEqual(len(done.stdout.splitlines()), 5)
            self.assertIn("3 of 3 answered", done.stdout)
            pings = documents(self.check(run("ping", at, "-n", "2", "--interval", "1ms", "--json"), 0).stdout)
            self.assertEqual([p.get("seq") for p in pings], [1, 2, None])
            self.assertEqual((pings[2]["sent"], pings[2]["answered"]), (2, 2))

    def test_a_server_that_is_not_there_or_no_vsoa_is_told(self):
        self.check(run("ping", REFUSED), 5, "connection refused")
        error = json.loads(self.check(run("ping", REFUSED, "--json"), 5).stderr)["error"]
        self.assertEqual(error["code"], "unreachable")
        with socket.create_server(("127.0.0.1", 0)) as other:
            at = f"127.0.0.1:{other.getsockname()[1]}"
            self.check(run("ping", at, "--timeout", "200ms"), 5, "no answer within --timeout")
            other.accept()[0].close()
            with vsoa("ping", at) as ping:
                peer, _ = other.accept()
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                self.assertIn("does not speak VSOA", ping.line())
                self.assertEqual(ping.process.wait(10), 5)
                peer.close()

    def test_ctrl_c_ends_it_with_the_summary(self):
        with server() as at, vsoa("ping", at, "--interval", "10ms") as ping:
            ping.line_with("seq=2")
            self.assertEqual(ping.stop(), 130)
            ping.line_with("answered, min/mean/max")


class Bench(Case):
    def test_rpc_and_publishing_are_measured_against_its_own_server(self):
        with vsoa("bench", "--serve", "--json") as serving:
            at = json.loads(serving.line())["listening"]
            done = self.check(run("bench", at, "--duration", "100ms", "--window", "8", "--json"), 0)
            one, many, published = documents(done.stdout)
            self.assertEqual((one["what"], one["window"], many["window"], published["what"]), ("rpc", 1, 8, "publish"))
            for measured in (one, many, published):
                self.assertGreater(measured["per_second"], 0)
                self.assertEqual(measured["failed"] + measured["lost"], 0)
                self.assertLessEqual(measured["p50_us"], measured["p90_us"])
                self.assertLessEqual(measured["p99_us"], measured["max_us"])
            self.assertEqual(published["latency"], "age")
            text = self.check(run("bench", at, "--duration", "50ms"), 0).stdout
            self.assertIn("rpc, window 64", text)
            self.assertEqual(serving.stop(), 130)

    def test_any_server_can_be_measured(self):
        with server() as at:
            self.assertEqual(len(documents(run("bench", at + "/echo", "--duration", "50ms", "--json").stdout)), 2)
            self.check(run("bench", at + "/nowhere", "--duration", "50ms"), 3, "status 3")
            self.check(run("bench", "--publish", at + "/news", "--duration", "50ms"), 4, "nothing was published")
        with vsoa("pub", "/axis", "--json", "--every", "1ms", "--param", "1") as pub:
            at = json.loads(pub.line())["listening"]
            done = self.check(run("bench", "--publish", at + "/axis", "--duration", "100ms", "--json"), 0)
            self.assertEqual(json.loads(done.stdout)["latency"], "gap")
        self.check(run("bench"), 2, "--serve")


class CommandLine(Case):
    def test_what_is_wrong_with_it_is_told(self):
        self.check(run(), 2, "Usage: vsoa")
        self.check(run("frobnicate"), 2, "vsoa")
        self.check(run("call"), 2, "URL is required")
        self.check(run("dump"), 2, "FILE or -i")
        self.check(run("call", "a/b", "--timeout", "soon"), 2, "duration such as 500ms")
        self.check(run("call", "a/b", "--param", "{x}"), 65, "expected JSON")
        self.check(run("sub", "a/b", "-n", "-1"), 2)
        self.check(run("--version"), 0, "vsoa ", "stdout")

    def test_every_command_has_help_and_the_man_page_tells_of_each_option(self):
        page = (pathlib.Path(__file__).parents[2] / "sdk/vsoa/tools/vsoa.1").read_text().replace("\\-", "-")
        for command in ("call", "sub", "pub", "ping", "resolve", "bench", "dump"):
            options = set(re.findall(r"--[a-z-]+", self.check(run(command, "--help"), 0).stdout))
            self.assertEqual([option for option in options if option not in page], [], command)


class Encrypted(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        subprocess.run([ROOT / "tests/support/certificates", cls.folder.name], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def file(self, name):
        return os.path.join(self.folder.name, name)

    def own(self, name):
        return "--tls-cert", self.file(name + ".pem"), "--tls-key", self.file(name + ".key")

    @contextlib.contextmanager
    def publisher(self, *words):
        with vsoa("pub", "/axis", "--listen", "127.0.0.1:0", "--param", '{"roll": 1}', "--every", "50ms", *words) as pub:
            yield pub, re.search(r"127\.0\.0\.1:\d+", pub.line())[0]

    def test_certificates_of_both_sides_let_in_whom_they_should(self):
        with self.publisher(*self.own("server"), "--tls-ca", self.file("ca.pem")) as (pub, at):
            trusting = ("--tls-ca", self.file("ca.pem"))
            self.check(run("call", at + "/axis", *trusting, *self.own("client")), 0, '{"roll": 1}', "stdout")
            self.check(run("sub", at + "/axis", "-n", "2", *trusting, *self.own("client")), 0, '{"roll": 1}', "stdout")
            self.check(run("ping", at, "-n", "1", *trusting, *self.own("client")), 0)
            self.check(run("call", at + "/axis", *trusting), 77, "certificate required")
            self.assertIn("showed no certificate", pub.line())
            self.check(run("call", at + "/axis", *trusting, *self.own("outsider")), 77, "unknown ca")
            self.assertIn("not accepted", pub.line())

    def test_a_server_that_cannot_prove_itself_is_not_spoken_to(self):
        for name, why in (("expired", "expired"), ("stranger", "certificate is not accepted"),
                          ("elsewhere", 'not for "127.0.0.1"')):
            with self.publisher(*self.own(name)) as (_, at):
                self.check(run("call", at + "/axis", "--tls-ca", self.file("ca.pem")), 77, why)
                self.check(run("call", at + "/axis", "--tls-no-verify"), 0)
        with self.publisher(*self.own("elsewhere")) as (_, at):
            self.check(run("call", at + "/axis", "--tls-ca", self.file("ca.pem"), "--tls-name", "axis_elsewhere"), 0)

    def test_a_name_is_looked_up_and_the_certificate_must_have_it(self):
        with self.publisher(*self.own("server"), "--name", "axis_server", "--position", "127.0.0.1:0") as (pub, _):
            position = ("--pos", pub.line().split()[-1])
            self.check(run("resolve", "axis_server", *position), 0, " tls", "stdout")
            self.check(run("call", "axis_server/axis", *position), 1, "give --tls")
            trusting = ("--tls-ca", self.file("ca.pem"))
            self.check(run("call", "axis_server/axis", *position, *trusting), 0)
            self.check(run("call", "AXIS_server/axis", *position, *trusting, "--tls-name", "other"), 77, 'not for "other"')

    def test_a_pre_shared_key_is_enough(self):
        with self.publisher("--tls-psk", self.file("keys.txt")) as (_, at):
            self.check(run("call", at + "/axis", "--tls-psk", self.file("client-keys.txt")), 0)
            self.check(run("call", at + "/axis", "--tls-psk", self.file("other-keys.txt")), 77, "does not know the key")

    def test_what_is_wrong_with_the_options_is_told(self):
        refused = ("call", "127.0.0.1:1/x")
        self.check(run(*refused, "--tls-cert", self.file("server.pem")), 2, "both or neither")
        self.check(run(*refused, "--tls-ca", self.file("nothing.pem")), 3, "nothing.pem")
        self.check(run(*refused, "--tls-ca", self.file("server.key")), 65, "authorities")
        self.check(run("pub", "/x", "--tls"), 2, "a server needs")
        self.check(run("pub", "/x", "--quick", *self.own("server")), 2, "cannot be encrypted")
        with server() as at:
            self.check(run("call", at + "/echo", "--tls-no-verify"), 5, "does the other side speak TLS")
        with self.publisher(*self.own("server")) as (_, at):
            self.check(run("call", at + "/axis"), 5)


if __name__ == "__main__":
    main([Call, Password, Names, Sub, Pub, Ping, Bench, Encrypted, CommandLine])
