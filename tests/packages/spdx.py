"""What an SPDX 2.3 document of a Debian package must have, and whether it says the truth about its package."""
import hashlib
import json
import pathlib
import re
import subprocess
import tempfile

REQUIRED = {"spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo", "packages", "files",
            "relationships"}
OF_PACKAGE = {"SPDXID", "name", "downloadLocation", "filesAnalyzed", "licenseConcluded", "licenseDeclared", "copyrightText"}
OF_FILE = {"SPDXID", "fileName", "checksums", "licenseConcluded", "licenseInfoInFiles", "copyrightText"}
KINDS = {"DESCRIBES", "CONTAINS", "DEPENDS_ON", "BUILD_DEPENDENCY_OF"}
LICENCES = {"Apache-2.0", "Artistic-1.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "GPL-1.0-or-later", "GPL-2.0-only",
            "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only", "LGPL-2.1-or-later",
            "LGPL-3.0-or-later", "MIT", "Zlib", "NOASSERTION"}


def faults(deb):
    """Everything that is wrong with the document beside the package; an empty list if it is good."""
    deb = pathlib.Path(deb)
    try:
        document = json.loads(deb.with_suffix(".spdx.json").read_text())
    except (OSError, ValueError) as error:
        return [str(error)]
    if lacking := REQUIRED - document.keys():
        return [f"the document lacks {sorted(lacking)}"]
    return [*of_document(document), *of_packages(document, deb), *of_files(document, deb), *of_relations(document)]


def of_document(document):
    fixed = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT"}
    for key, value in fixed.items():
        if document[key] != value:
            yield f"{key}: expected {value}, got {document[key]}"
    if not re.fullmatch(r"https://[^#\s]+", document["documentNamespace"]):
        yield f"documentNamespace: expected a URI without #, got {document['documentNamespace']}"
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"].get("created", "")):
        yield f"creationInfo.created: expected UTC, got {document['creationInfo']}"
    creators = document["creationInfo"].get("creators")
    if not creators or not all(re.match(r"(Person|Organization|Tool): .", one) for one in creators):
        yield f"creationInfo.creators: got {creators}"
    ids = [thing["SPDXID"] for thing in [document, *document["packages"], *document["files"]]]
    for one in sorted({one for one in ids if ids.count(one) > 1 or not re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one)}):
        yield f"SPDXID {one}: given twice, or no id"


def of_packages(document, deb):
    own = {entry["licenseId"] for entry in document.get("hasExtractedLicensingInfos", []) if entry.get("extractedText")}
    for package in document["packages"]:
        who = package.get("name", "?")
        if lacking := OF_PACKAGE - package.keys():
            yield f"package {who} lacks {sorted(lacking)}"
            continue
        for key in ("licenseConcluded", "licenseDeclared"):
            if package[key] not in LICENCES | own:
                yield f"package {who}: {key} {package[key]} is neither SPDX's nor explained in the document"
        for ref in package.get("externalRefs", []):
            if not re.fullmatch(r"pkg:deb/[a-z]+/[a-z0-9.+-]+@[^?\s]+\?arch=[a-z0-9]+", ref["referenceLocator"]):
                yield f"package {who}: {ref['referenceLocator']} is no purl"
    main = [package for package in document["packages"] if package.get("filesAnalyzed")]
    if len(main) != 1:
        yield f"expected one package whose files are listed, got {len(main)}"
        return
    main = main[0]
    fields = {key: subprocess.run(["dpkg-deb", "-f", deb, key], check=True, capture_output=True, text=True).stdout.strip()
              for key in ("Package", "Version", "Depends")}
    if (main["name"], main.get("versionInfo"), main.get("packageFileName")) != (fields["Package"], fields["Version"], deb.name):
        yield f"expected the package {fields}, got {main['name']} {main.get('versionInfo')}"
    if main.get("checksums") != [{"algorithm": "SHA256", "checksumValue": sha("sha256", deb.read_bytes())}]:
        yield f"checksums of the package: got {main.get('checksums')}"
    code = sha("sha1", "".join(sorted(value(file, "SHA1") for file in document["files"])).encode())
    if main.get("packageVerificationCode", {}).get("packageVerificationCodeValue") != code:
        yield f"packageVerificationCode: expected {code}, got {main.get('packageVerificationCode')}"
    wanted = {relation["relatedSpdxElement"] for relation in document["relationships"]
              if (relation["spdxElementId"], relation["relationshipType"]) == (main["SPDXID"], "DEPENDS_ON")}
    groups = [group for group in fields["Depends"].split(",") if group.strip()]
    if len(wanted) > len(groups) or bool(wanted) != bool(groups):
        yield f"the package depends on {fields['Depends']}, the document says {sorted(wanted)}"
    for group in groups:
        if not any("SPDXRef-Package-" + re.sub(r"[^A-Za-z0-9.-]", "-", re.split(r"[ (:]", one.strip())[0]) in wanted
                   for one in group.split("|")):
            yield f"the document has no DEPENDS_ON for {group.strip()}"


def of_files(document, deb):
    with tempfile.TemporaryDirectory(prefix="gantry-spdx.") as folder:
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
        there = {"./" + str(path.relative_to(folder)): path.read_bytes() for path in pathlib.Path(folder).rglob("*")
                 if path.is_file() and not path.is_symlink()}
    listed = {}
    for file in document["files"]:
        if lacking := OF_FILE - file.keys():
            yield f"a file lacks {sorted(lacking)}: {file.get('fileName')}"
            continue
        listed[file["fileName"]] = file
    for name in sorted(there.keys() ^ listed.keys()):
        yield f"{name} is in {'the package' if name in there else 'the document'} alone"
    for name in sorted(there.keys() & listed.keys()):
        for kind in ("SHA1", "SHA256"):
            if value(listed[name], kind) != sha(kind.lower(), there[name]):
                yield f"{name}: {kind} is {sha(kind.lower(), there[name])}, the document says {value(listed[name], kind)}"


def of_relations(document):
    known = {thing["SPDXID"] for thing in [document, *document["packages"], *document["files"]]}
    said = {(relation["spdxElementId"], relation["relationshipType"], relation["relatedSpdxElement"])
            for relation in document["relationships"]}
    for one, kind, other in sorted(said):
        if not {one, other} <= known or kind not in KINDS:
            yield f"{one} {kind} {other}: no such element or kind"
    described = [other for one, kind, other in said if (one, kind) == ("SPDXRef-DOCUMENT", "DESCRIBES")]
    if len(described) != 1:
        yield f"expected the document to describe one package, got {described}"
    for thing in [*document["packages"], *document["files"]]:
        if not any(thing["SPDXID"] in (one, other) for one, _, other in said):
            yield f"{thing['SPDXID']} is related to nothing"


def value(file, kind):
    return next((entry["checksumValue"] for entry in file["checksums"] if entry["algorithm"] == kind), "none")


def sha(kind, data):
    return hashlib.new(kind, data).hexdigest()
