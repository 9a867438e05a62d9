# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Signatures of a release's manifest: made on the controller with an OpenSSH or a GPG key, checked on the device.

``manifest.json.sig`` holds one armoured signature or several, of either kind. One by a trusted key is enough: a release that also
goes to devices whose ssh-keygen cannot verify (before OpenSSH 8.1, as on JetPack 4) is signed with a key of each kind.
"""
import base64
import contextlib
import os
import re
import shutil
import tempfile

from ansible_collections.tfleet.serving.plugins.module_utils import commands
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.manifest import SIGNATURE

# What a key signs for one purpose says nothing for another.
NAMESPACE = "tfleet-release"
SSH_KEY = re.compile(r"^(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*(?: .*)?\Z")
BLOCK = re.compile(r"-----BEGIN (SSH|PGP) SIGNATURE-----\r?\n.*?-----END \1 SIGNATURE-----\r?\n?", re.DOTALL)
PGP_KEY = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
# Clocks prove nothing here, and many a device has none that runs while it is switched off: a key "of the future" is as good as any.
ANY_TIME = "--ignore-time-conflict"
# A signature is a few hundred bytes; nothing larger is read.
MAX_BYTES = 65536


class SignatureError(ModuleError):
    """A manifest cannot be signed, or is not signed by a trusted key."""


def sign(content, keys):
    """Return the armoured signatures (bytes) of ``content`` (bytes) by each of ``keys``.

    :param keys: the file of an OpenSSH key (a public key works where the agent has the private one), or ``gpg:`` and a GPG key's id.
    :raises SignatureError: which key could not sign, and why.
    """
    text = content.decode("utf-8")
    signatures = []
    for key in keys:
        if key.startswith("gpg:"):
            argv = ["gpg", "--batch", "--yes", "--no-tty", ANY_TIME, "--ignore-valid-from", "--armor", "--detach-sign", "--local-user", key[4:],
                    "--output", "-"]
            advice = "Check that `gpg --list-secret-keys %s` knows the key and that gpg-agent has its passphrase." % key[4:]
        else:
            argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", os.path.abspath(os.path.expanduser(key)), "-n", NAMESPACE]
            advice = "Check that the file is a key and has no passphrase; one with a passphrase goes into ssh-agent, and its .pub file is named here."
        answer = commands.run(argv, answer=text)
        made = BLOCK.search(answer.stdout)
        if answer.status != 0 or made is None:
            raise SignatureError("The release was not signed with %s. %s%s" % (key, advice, commands.said(answer)))
        signatures.append(made.group(0))
    return "".join(signatures).encode("ascii")


def signed_by(content, signature, keys):
    """Whether every one of ``keys``, named as for :func:`sign`, has signed ``content``: no release is signed twice."""
    blocks = [match.group(0).encode("ascii", "replace") for match in BLOCK.finditer((signature or b"").decode("utf-8", "replace"))]
    publics = [_public(key) for key in keys]
    return len(blocks) == len(publics) and all(any(_accepts(content, block, public) for block in blocks) for public in publics)


def _public(key):
    if key.startswith("gpg:"):
        return commands.demand(["gpg", "--batch", "--no-tty", "--armor", "--export", key[4:]], "Check the key's id with gpg --list-secret-keys.")
    path = os.path.abspath(os.path.expanduser(key))
    if path.endswith(".pub"):
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    if os.path.exists(path + ".pub"):
        return _public(path + ".pub")
    return commands.demand(["ssh-keygen", "-y", "-f", path], "Check that the file is an OpenSSH key without a passphrase, or name its .pub file.")


def _accepts(content, block, public):
    try:
        verify(content, block, [public], "the release")
    except SignatureError:
        return False
    return True


def verify(content, signature, trusted, where):
    """Make sure that ``content`` (a manifest's bytes) is signed by one of the ``trusted`` keys.

    :param signature: content of manifest.json.sig, None if there is none.
    :param trusted: public keys: lines of OpenSSH keys, and armoured GPG keys.
    :param where: the release, for messages.
    :returns: who signed, as the verifier names the key.
    :raises SignatureError: not signed, by nobody who is trusted, changed since, or this host cannot tell.
    """
    ssh_keys, pgp_keys = _sorted_keys(trusted)
    if signature is None:
        raise SignatureError("%s is not signed, and this host takes only releases signed by a trusted key (trusted_keys). Sign it on the controller "
                             "(model_release_signing_keys) and run again." % where)
    blocks = [(match.group(1), match.group(0)) for match in BLOCK.finditer(signature[:MAX_BYTES].decode("utf-8", "replace"))]
    reasons = []
    for kind, block in blocks:
        keys = ssh_keys if kind == "SSH" else pgp_keys
        if not keys:
            reasons.append("no %s key is trusted" % ("OpenSSH" if kind == "SSH" else "GPG"))
            continue
        signer, reason = (_by_ssh if kind == "SSH" else _by_gpg)(content, block, keys)
        if signer:
            return signer
        reasons.append(reason)
    raise SignatureError("The signature of %s is not one of a trusted key for exactly this manifest: %s. Do not use this release; fetch it again, or sign "
                         "it with a key that this host trusts (trusted_keys)." % (where, "; ".join(reasons) or "%s holds no signature" % SIGNATURE))


def read(path):
    """Return the content of a signature file, None if there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES)
    except FileNotFoundError:
        return None


def _sorted_keys(trusted):
    ssh_keys, pgp_keys = [], []
    for key in trusted:
        armoured = PGP_KEY.findall(key)
        lines = [line.strip() for line in key.splitlines() if line.strip() and not line.startswith("#")]
        if armoured:
            pgp_keys += [_dearmour(block) for block in armoured]
        elif lines and all(SSH_KEY.match(line) for line in lines):
            ssh_keys += lines
        else:
            raise SignatureError("A trusted key is neither an OpenSSH public key (\"ssh-ed25519 AAAA… name\") nor an armoured GPG public key: %.60r. Give "
                                 "the text of the public key, for example by lookup('file', …)." % key)
    return ssh_keys, pgp_keys


def _by_ssh(content, block, keys):
    """Return (signer, None) or (None, why not)."""
    with _folder() as folder:
        signature, allowed = os.path.join(folder, "signature"), os.path.join(folder, "allowed")
        _write(signature, block.encode("ascii", "replace"))
        _write(allowed, "".join("tfleet namespaces=\"%s\" %s\n" % (NAMESPACE, key) for key in keys).encode("utf-8"))
        try:
            answer = commands.run(["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "tfleet", "-n", NAMESPACE, "-s", signature],
                                  answer=content.decode("utf-8"))
        except commands.CommandError:
            return None, "this host has no ssh-keygen to check an OpenSSH signature with (install openssh-client, or sign with a GPG key too)"
    if answer.status == 0:
        return re.sub(r"^Good .* with ", "", answer.stdout.strip()), None
    if re.search("(unknown|illegal|invalid) option", answer.stderr):
        return None, "the ssh-keygen of this host is older than OpenSSH 8.1 and cannot verify (sign with a GPG key too)"
    return None, "ssh-keygen says: %s" % " ".join((answer.stderr.strip() or answer.stdout.strip()).split())


def _by_gpg(content, block, keys):
    with _folder() as folder:
        paths = [os.path.join(folder, name) for name in ("keyring", "signature", "manifest")]
        for path, what in zip(paths, (b"".join(keys), block.encode("ascii", "replace"), content)):
            _write(path, what)
        try:
            answer = commands.run(["gpgv", ANY_TIME, "--homedir", folder, "--keyring", paths[0], paths[1], paths[2]])
        except commands.CommandError:
            return None, "this host has no gpgv to check a GPG signature with (install gpgv)"
    good = re.search(r'Good signature from "(.*)"', answer.stderr)
    if answer.status == 0 and good:
        return "GPG key of %s" % good.group(1), None
    return None, "gpgv says: %s" % " ".join(answer.stderr.split())


def _dearmour(armoured):
    """The key's packets: gpgv reads no armour."""
    body = armoured.replace("\r", "").split("\n\n", 1)[-1]
    lines = [line for line in body.splitlines() if line and not line.startswith("=")]
    try:
        return base64.b64decode("".join(lines), validate=True)
    except ValueError as error:
        raise SignatureError("A trusted GPG key is damaged: %s. Export it again: gpg --armor --export KEY." % error) from error


@contextlib.contextmanager
def _folder():
    folder = tempfile.mkdtemp(prefix="tfleet-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path, content):
    with open(path, "wb") as stream:
        stream.write(content)
