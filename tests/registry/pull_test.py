#!/usr/bin/env python3
"""pull_test.py GANTRYD GANTRY BUILD: images from registries, by a real skopeo from a real docker-registry.

One gantryd (a controller) and the registries of a test live on loopback addresses of this process alone.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import controlled  # noqa: E402
import registries  # noqa: E402
from controlled import HOST, LIMIT_S  # noqa: E402

BUILD = sys.argv[3]
SERVICE = """
[service]
name = "axis"
image = "{image}"
{more}
[placement]
nodes = ["nowhere"]
"""


class Pull(controlled.Controlled):
    @classmethod
    def setUpClass(cls):
        cls.tools = registries.tools(BUILD)

    def setUp(self):
        super().setUp()
        self.layout = registries.Layout(self.dir / "layout")

    def pull(self, *words, status=0, prefix=()):
        text = self.gantry("image", "pull", "--no-verify-tls", *words, status=status, prefix=prefix)
        self.assertEqual(list(self.work.iterdir()), [], "a pull leaves nothing behind")
        return text

    def registry(self, port=5000, **more):
        return registries.Registry(self.tools, self.dir / f"registry{port}", f"{HOST}:{port}", **more)

    def liar(self):
        liar = registries.Liar(f"{HOST}:5009")
        image = self.layout.image(b"x" * 100_000)
        return liar, image, f"{liar.address}/axis:1.0"

    def test_a_pulled_image_has_the_registrys_digest_and_an_unchanged_one_moves_no_layer(self):
        image = self.layout.image(b"one" * 50_000)
        self.layout.name(image, "1.0")
        with self.registry() as registry:
            registry.push(self.layout, "1.0", "press/axis:1.0")
            name = f"{registry.address}/press/axis:1.0"
            self.assertIn(f"image {name} is stored ({image['digest']})", self.pull(name))
            self.assertEqual(self.stored()[name]["digest"], image["digest"])
            reads = registry.blob_reads()
            self.assertGreater(reads, 0)
            self.assertIn("is up to date", self.pull(name))
            # Another name of what is there: no bytes either.
            registry.push(self.layout, "1.0", "press/axis:new")
            self.assertIn("is stored", self.pull(f"{registry.address}/press/axis:new", "--name", "axis:new"))
            self.assertEqual(self.stored()["axis:new"]["digest"], image["digest"])
            self.assertEqual(registry.blob_reads(), reads)

    def test_an_image_is_pinned_by_its_digest(self):
        image, other = self.layout.image(b"one"), self.layout.image(b"two")
        self.layout.name(image, "1.0")
        with self.registry() as registry:
            registry.push(self.layout, "1.0", "axis:1.0")
            self.layout.name(other, "1.0")
            registry.push(self.layout, "1.0", "axis:1.0")
            self.pull(f"{registry.address}/axis@{image['digest']}")
            self.assertEqual(self.stored()[f"{registry.address}/axis@{image['digest']}"]["digest"], image["digest"])
            text = self.pull(f"{registry.address}/axis@sha256:{'0' * 64}", status=3)
            self.assertIn("the registry does not have that image", text)

    def test_credentials_and_certificates_are_asked_for_and_used(self):
        address = f"{HOST}:5001"
        tls = registries.certificate(self.dir, address)
        image = self.layout.image(b"one")
        self.layout.name(image, "1.0")
        with self.registry(5001, tls=tls, password="right") as registry:
            registry.push(self.layout, "1.0", "axis:1.0")
            name = f"{address}/axis:1.0"
            right = registries.authfile(self.dir, address, "right")
            wrong = registries.authfile(self.dir, address, "wrong")
            certificates = self.dir / "certs"
            certificates.mkdir()
            (certificates / "ca.crt").write_text(tls[0].read_text())
            self.assertIn("--cert-dir", self.gantry("image", "pull", name, "--authfile", right, status=1))
            self.assertIn("--authfile", self.gantry("image", "pull", name, "--cert-dir", certificates, status=1))
            self.assertIn("--authfile", self.gantry("image", "pull", name, "--cert-dir", certificates, "--authfile",
                                                    wrong, status=1))
            self.assertEqual(self.stored(), {})
            self.gantry("image", "pull", name, "--cert-dir", certificates, "--authfile", right)
            self.assertIn(name, self.stored())
            for secret in ("right", "wrong"):
                self.assertNotIn(secret, (self.dir / "gantryd.log").read_text())

    def test_a_mirror_is_asked_in_the_place_of_a_registry(self):
        self.layout.name(self.layout.image(b"one"), "1.0")
        with self.registry() as registry:
            registry.push(self.layout, "1.0", "axis:1.0")
            file = self.dir / "mirrors.conf"
            file.write_text(f'[[registry]]\nlocation = "registry.example"\n[[registry.mirror]]\n'
                            f'location = "{registry.address}"\ninsecure = true\n')
            self.gantry("image", "pull", "registry.example/axis:1.0", "--registries-conf", file)
            self.assertIn("registry.example/axis:1.0", self.stored())

    def test_of_an_image_for_several_platforms_one_is_taken(self):
        amd, arm = self.layout.image(b"amd"), self.layout.image(b"arm", "arm64")
        self.layout.name(self.layout.index(amd, arm), "1.0")
        self.layout.name(self.layout.index(dict(arm)), "only")
        with self.registry() as registry:
            registry.push(self.layout, "1.0", "axis:1.0")
            registry.push(self.layout, "only", "axis:only")
            for architecture, image in (("amd64", amd), ("arm64", arm)):
                self.pull(f"{registry.address}/axis:1.0", "--platform", f"linux/{architecture}", "--name", "axis:1.0")
                self.assertEqual(self.stored()["axis:1.0"]["digest"], image["digest"])
                self.assertEqual(self.stored()["axis:1.0"]["architecture"], architecture)
            text = self.pull(f"{registry.address}/axis:1.0", "--platform", "linux/riscv64", status=65)
            self.assertIn("linux/amd64, linux/arm64", text)
            self.pull(f"{registry.address}/axis:only", "--name", "axis:only")
            self.assertEqual(self.stored()["axis:only"]["digest"], arm["digest"])

    def test_deploy_pulls_by_its_policy_and_resolves_a_tag_once(self):
        first, second = self.layout.image(b"first"), self.layout.image(b"second")
        self.layout.name(first, "1.0")
        manifest = self.dir / "axis.toml"

        def deploy(more, status=4):
            manifest.write_text(SERVICE.format(image=name, more=more))
            return self.gantry("deploy", manifest, "--timeout", "100ms", "--wait", status=status)

        def digest():
            return json.loads(self.gantry("--json", "services"))["items"][0]["image_digest"]

        with self.registry() as registry:
            self.settings.write_text(
                f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
            registry.push(self.layout, "1.0", "axis:1.0")
            name = f"{registry.address}/axis:1.0"
            self.assertIn("is not in the store", deploy('pull = "Never"', status=65))
            self.assertIn('axis.toml:5:1: service.pull: expected "IfNotPresent"', deploy('pull = "Sometimes"', status=65))
            deploy("")
            self.assertEqual(digest(), first["digest"])
            # The tag means something else now: who does not ask does not notice.
            self.layout.name(second, "1.0")
            registry.push(self.layout, "1.0", "axis:1.0")
            self.assertIn("no change", deploy("", status=0))
            self.assertEqual(digest(), first["digest"])
            self.gantry("deploy", manifest, "--pull", "Never")  # wins over the file
            deploy('pull = "Always"')
            self.assertEqual(digest(), second["digest"])
            self.assertIn("no change", deploy('pull = "Always"', status=0))
        self.assertIn("is the registry up", deploy('pull = "Always"', status=1))
        deploy('pull = "IfNotPresent"\npriority = 1')  # what is here needs no registry

    def test_services_follow_the_versions_of_their_image(self):
        images = {tag: self.layout.image(tag.encode()) for tag in ("1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "latest")}
        manifest = self.dir / "axis.toml"

        def image():
            return {s["name"]: (s["image"], s["image_digest"])
                    for s in json.loads(self.gantry("--json", "services"))["items"]}

        with self.registry() as registry:
            def push(tag):
                self.layout.name(images[tag], tag)
                registry.push(self.layout, tag, f"axis:{tag}")

            options = ["--no-verify-tls"]
            front = f"{registry.address}/axis:"
            push("1.0.0")
            self.pull(f"{front}1.0.0")
            manifest.write_text(SERVICE.format(image=f"{front}1.0.0", more=""))
            self.gantry("deploy", manifest, "--timeout", "100ms", "--wait", status=4)
            self.assertIn("axis: " + front + "1.0.0 stays", self.gantry("upgrade", *options))
            for tag in images:
                push(tag)
            self.assertIn(f"would become {front}1.10.0", self.gantry("upgrade", "axis", "--dry-run", *options))
            self.assertEqual(image()["axis"][0], front + "1.0.0")
            self.assertIn(f"becomes {front}1.10.0, revision 2", self.gantry("upgrade", *options))
            self.assertEqual(image()["axis"], (front + "1.10.0", images["1.10.0"]["digest"]))
            self.assertIn("stays", self.gantry("upgrade", *options))
            # The tag moves: only who asks for it follows.
            self.assertIn("stays", self.gantry("upgrade", "--policy", "Always", *options))
            images["1.10.0"] = images["latest"]
            push("1.10.0")
            self.assertIn("stays", self.gantry("upgrade", *options))
            self.assertIn("revision 3", self.gantry("upgrade", "--policy", "Always", *options))
            self.assertEqual(image()["axis"][1], images["latest"]["digest"])
            self.assertIn("stays", self.gantry("upgrade", "--policy", "Always", *options))
        # The registry is away: said of that service, and the other one follows what was brought into the store.
        for tag in ("1.0", "1.1"):
            self.layout.name(self.layout.image(b"other" + tag.encode()), tag)
            if tag == "1.0":
                self.gantry("image", "import", self.layout.folder, "--name", "other", status=0)
                manifest.write_text(SERVICE.format(image="other:1.0", more="").replace('"axis"', '"other"'))
                self.gantry("deploy", manifest, "--timeout", "100ms", "--wait", status=4)
        self.gantry("image", "import", self.layout.folder, "--name", "other")
        text = self.gantry("upgrade", *options, status=1)
        self.assertIn("axis: ", text)
        self.assertIn("1 of 2 services could not be upgraded", text)
        self.assertEqual(image()["other"][0], "other:1.10.0")  # the layout's largest

    def test_ecsms_references_name_an_image_and_its_system(self):
        script = pathlib.Path(__file__).resolve().parents[1] / "data/make-ecsc-tar"
        subprocess.run([script, self.dir / "axis.tar", "--name", "axis_server:1.0"], check=True, timeout=LIMIT_S)
        self.gantry("image", "import", self.dir / "axis.tar")
        self.assertEqual(self.stored()["axis_server:1.0"]["os"], "sylixos")
        manifest = self.dir / "axis.toml"
        manifest.write_text(SERVICE.format(image="axis_server@1.0#linux", more=""))
        self.assertIn("is an image of sylixos", self.gantry("deploy", manifest, status=65))
        manifest.write_text(SERVICE.format(image="axis_server@1.0#sylixos", more=""))
        self.gantry("deploy", manifest, "--timeout", "100ms", "--wait", status=4)
        digest = self.stored()["axis_server:1.0"]["digest"]
        manifest.write_text(SERVICE.format(image=f"axis_server@{digest}", more=""))
        self.assertIn("no change", self.gantry("deploy", manifest))

    def test_what_is_no_reference_and_what_names_no_registry_is_refused(self):
        for reference in ("axis:1.0", "axis@1.0#sylixos"):
            self.assertIn("names no registry", self.pull(reference, status=2))
        for reference in ("localhost:1/a:b:c", "localhost/../a", "localhost/a@sha256:7", "localhost/", "", "a#",
                          "localhost/a:1@2", "localhost/--all", "-x/a:1"):
            self.assertIn("expected", self.pull("--", reference, status=2))

    def test_a_registry_that_stalls_is_given_up(self):
        liar, image, name = self.liar()
        with liar:
            layer = liar.serve(self.layout, image, "axis")
            liar.answers[f"/v2/axis/blobs/{layer}"] = lambda h: liar.hang(h, self.layout.read(layer)[:50_000],
                                                                          len(self.layout.read(layer)))
            text = self.pull(name, "--timeout", "1s", status=4)
            self.assertIn("the registry sent nothing for 1 s", text)
            liar.answers["/v2/axis/manifests/1.0"] = liar.hang
            self.assertIn("sent nothing for 1 s", self.pull(name, "--timeout", "1s", status=4))
        self.assertEqual(self.stored(), {})

    def test_what_a_registry_breaks_off_or_invents_is_not_stored(self):
        liar, image, name = self.liar()
        with liar:
            layer = liar.serve(self.layout, image, "axis")
            data, path = self.layout.read(layer), f"/v2/axis/blobs/{layer}"
            honest = dict(liar.answers)

            def lie(where, answer, status, words):
                liar.answers = dict(honest, **{where: answer})
                self.assertRegex(self.pull(name, status=status), words)

            def cut(handler):
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data[:70_000])
                handler.close_connection = True
                handler.connection.close()

            lie(path, cut, 1, "cannot pull .*EOF")
            lie(path, (200, {}, data[:-1] + b"!"), 65, "cannot pull .*not what it promised")
            lie(path, (200, {}, data[:70_000]), 65, "cannot pull .*not what it promised")
            lie(path, (404, {}, b""), 1, "cannot pull")
            lie(path, (500, {}, b"<html>"), 1, "cannot pull")
            manifests = "/v2/axis/manifests/"
            lie(manifests + "1.0", (200, {"Content-Type": registries.MANIFEST}, b"no json"), 65, "no JSON object")
            lie(manifests + "1.0", (200, {"Content-Type": registries.MANIFEST}, b"{}"), 3, "cannot pull")
            other = self.layout.read(self.layout.image(b"other")["digest"])
            lie(manifests + image["digest"], (200, {"Content-Type": registries.MANIFEST}, other), 65, "not what it promised")
            liar.answers = honest
            self.assertEqual(self.stored(), {})
            self.pull(name)
            self.assertEqual(self.stored()[name]["digest"], image["digest"])

    def test_a_registry_that_is_not_there_and_a_missing_image_are_told_apart(self):
        self.assertIn("is the registry up", self.pull(f"{HOST}:5055/axis:1.0", status=1))
        with self.registry() as registry:
            self.assertIn("the registry does not have that image", self.pull(f"{registry.address}/axis:1.0", status=3))

    def test_a_disk_that_fills_up_in_the_middle_of_a_layer_is_named(self):
        self.layout.name(self.layout.image(os.urandom(3 << 20)), "1.0")
        with self.registry() as registry:
            registry.push(self.layout, "1.0", "axis:1.0")
            small = ["unshare", "--mount"] + ([] if os.getuid() == 0 else ["--map-root-user", "--user"])
            # As root of a user namespace skopeo looks where only the machine's root may.
            mount = ('if [ -d /var/lib/containers ]; then mount -t tmpfs none /var/lib/containers; fi && '
                     'mount -t tmpfs -o size=1m small "$TMPDIR" && exec "$@"')
            text = self.pull(f"{registry.address}/axis:1.0", status=1, prefix=[*small, "sh", "-c", mount, "sh"])
            self.assertIn("no space left on device", text)
            self.assertIn("TMPDIR", text)
            self.assertEqual(self.stored(), {})

    def test_without_skopeo_the_package_is_named(self):
        self.environment["PATH"] = str(self.work)
        self.assertIn("apt install skopeo", self.pull("localhost/axis:1.0", status=1))


if __name__ == "__main__":
    try:
        registries.tools(BUILD)
    except (OSError, subprocess.SubprocessError) as why:
        print(f"skipped: docker-registry cannot be unpacked: {why}")
        sys.exit(77)
    if shutil.which("skopeo") is None:
        print("skipped: skopeo is not installed")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
