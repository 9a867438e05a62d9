"""Real .deb packages and an apt repository of them, made in a moment: what stands in for other people's repositories."""

import hashlib
import pathlib
import subprocess
import tempfile
from email.utils import formatdate


def build_package(directory, name, version, *, files=None, depends="", architecture="all", scripts=None, fields=None):
    """Build ``<directory>/<name>_<version>_<architecture>.deb`` and return its path.

    ``files`` are {absolute path: text or bytes}; those that begin with ``#!`` are executable. ``scripts`` are {name in DEBIAN/: text}.
    """
    directory = pathlib.Path(directory)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        root.chmod(0o755)
        for path, given in (files or {}).items():
            content = given.encode() if isinstance(given, str) else given
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod(0o755 if content.startswith(b"#!") else 0o644)
        control = {"Package": name, "Version": version, "Architecture": architecture, "Maintainer": "tfleet tests <tests@example.net>"}
        control.update({"Depends": depends} if depends else {}, **(fields or {}), Description="stands in for a package that the tests cannot have")
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
        for script, text in (scripts or {}).items():
            (root / "DEBIAN" / script).write_text(text)
            (root / "DEBIAN" / script).chmod(0o755)
        path = directory / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def index(root, sign_with=None, suite=None, component="main", architecture="amd64"):
    """Make a directory with .deb files an apt repository, signed by the GnuPG home ``sign_with`` if there is one.

    Without a suite it is a flat one (``deb file:ROOT ./``), else one with suites (``deb file:ROOT SUITE COMPONENT``).
    """
    root = pathlib.Path(root)
    release = root / "dists" / suite if suite else root
    place = release / component / f"binary-{architecture}" if suite else root
    place.mkdir(parents=True, exist_ok=True)
    paragraphs = []
    for path in sorted(root.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        paragraphs.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n")
    (place / "Packages").write_text("\n".join(paragraphs))
    listed = place / "Packages"
    sums = f" {hashlib.sha256(listed.read_bytes()).hexdigest()} {listed.stat().st_size} {listed.relative_to(release)}\n"
    names = f"Suite: {suite}\nCodename: {suite}\nComponents: {component}\nArchitectures: {architecture}\n" if suite else ""
    (release / "Release").write_text(f"{names}Date: {formatdate(usegmt=True)}\nSHA256:\n{sums}")
    if sign_with:
        subprocess.run(["gpg", "--homedir", str(sign_with), "--batch", "--yes", "--clearsign", "--output", str(release / "InRelease"),
                        str(release / "Release")], check=True, stderr=subprocess.DEVNULL)


def make_key(home):
    """Make a signing key in the GnuPG home ``home`` and return its public half, armoured."""
    home = pathlib.Path(home)
    home.mkdir(mode=0o700, exist_ok=True)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", "tfleet tests", "ed25519", "sign", "never"], check=True)
    return subprocess.run([*gpg, "--armor", "--export"], check=True, stdout=subprocess.PIPE).stdout
