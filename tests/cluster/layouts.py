"""OCI image layouts with something wrong in them, made from a good one."""
import gzip
import hashlib
import io
import json
import shutil
import tarfile


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """A folder with an image of one layer."""

    def __init__(self, folder):
        self.folder = folder
        self.index = json.loads((folder / "index.json").read_text())
        self.manifest = json.loads(self.blob(self.index["manifests"][0]["digest"]).read_bytes())
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]).read_bytes())

    def blob(self, digest):
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def layer(self):
        return self.blob(self.manifest["layers"][0]["digest"])

    def add(self, data):
        """Puts a blob in; its descriptor's digest and size."""
        digest = digest_of(data)
        self.blob(digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def take_layer(self, data, unpacked):
        """Replaces the layer by other bytes; every digest and size above it is made to agree."""
        self.layer().unlink()
        self.manifest["layers"][0].update(self.add(data))
        self.config["rootfs"]["diff_ids"] = [digest_of(unpacked)]
        self.manifest["config"].update(self.add(json.dumps(self.config).encode()))
        self.index["manifests"][0].update(self.add(json.dumps(self.manifest).encode()))
        (self.folder / "index.json").write_text(json.dumps(self.index))
        return self

    def blobs(self):
        """Every blob that the image refers to, its manifest last."""
        parts = [*self.manifest["layers"], self.manifest["config"], self.index["manifests"][0]]
        return {part["digest"]: self.blob(part["digest"]).read_bytes() for part in parts}


def copy(good, folder):
    shutil.copytree(good, folder)
    return Layout(folder)


def climbing(good, folder, entry):
    """Its layer is whole and has an entry that leaves the root."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as tar:
        for name, text in (("fine", b"fine"), (entry, b"climbed")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return copy(good, folder).take_layer(gzip.compress(unpacked.getvalue()), unpacked.getvalue())


def truncated(good, folder):
    """Its layer ends in the middle; every digest is right."""
    layout = copy(good, folder)
    whole = layout.layer().read_bytes()
    return layout.take_layer(whole[:len(whole) // 2], gzip.decompress(whole))


def cut_blob(good, folder):
    """The file of its layer is shorter than its descriptor says."""
    layout = copy(good, folder)
    layout.layer().write_bytes(layout.layer().read_bytes()[:-100])
    return layout


def wrong_digest(good, folder):
    """One byte of its layer is another."""
    layout = copy(good, folder)
    data = bytearray(layout.layer().read_bytes())
    data[len(data) // 2] ^= 1
    layout.layer().write_bytes(data)
    return layout
