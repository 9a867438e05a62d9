# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One peer of a closed swarm: a program of its own that any Python with libtorrent (1.2 or later) can run; it needs nothing else of tfleet.

Its request is one JSON object on standard input::

    {"metainfo": base64, "save_path": "/…/.staging", "port": 6881, "peers": [["192.0.2.1", 6881]], "allowed": ["192.0.2.1"],
     "late_peers": [], "rate": 0, "encryption": false, "timeout": 600, "seconds": null, "watch": null}

A device's peer ends when it has all and nobody needs it any more, after ``seconds`` if something has come in them, and at once when its
standard input closes: with the module that started it, however that ended. The controller's has ``watch``, a directory of files named after
the processes that need it, and ends after the last.
Answers are JSON lines on standard output, the last of which has ``done``.

Nobody is asked for peers: no tracker, no DHT, no local discovery, no exchange of peers (the torrent is private), and the filter lets
nobody in but the inventory's addresses.
"""
import base64
import contextlib
import fcntl
import json
import os
import select
import sys
import time

# A peer that has everything stays for those that still fetch, but not longer than this after the last byte it sent.
IDLE_SECONDS = 4
# Those farther away are called a little later, so that what the neighbours have comes from them.
LATE_SECONDS = 3
CALL_SECONDS = 2
# Who has so much of it when it is met comes for an update.
MUCH = 0.4
MEET_SECONDS = 1.5
WATCH_SECONDS = 2


def settings(lt, request):
    """Return libtorrent's settings for this swarm; those that this version does not know are left out."""
    rate = request["rate"]
    seeding = bool(request["watch"])
    wanted = {
        "listen_interfaces": ",".join("%s:%d" % (address, request["port"]) for address in ("0.0.0.0", "[::]")),  # noqa: S104 - the filter lets nobody in but the inventory
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        # uTP costs more CPU for each byte than TCP and gives way to everything else, the model server included; the rate limit is for that.
        "enable_outgoing_utp": False, "enable_incoming_utp": False,
        "user_agent": "tfleet", "anonymous_mode": True, "announce_to_all_trackers": False,
        "download_rate_limit": rate, "upload_rate_limit": rate, "local_service_announce_interval": 86400,
        "connections_limit": 200, "unchoke_slots_limit": 8 if seeding else 6, "active_limit": 10, "active_seeds": 10, "active_downloads": 10,
        "allow_multiple_connections_per_ip": False, "min_reconnect_time": 1, "max_failcount": 1000, "peer_connect_timeout": 4, "connection_speed": 50,
        "mixed_mode_algorithm": 0, "strict_end_game_mode": True, "max_out_request_queue": 64, "request_timeout": 20, "whole_pieces_threshold": 2,
        "out_enc_policy": 0 if request["encryption"] else 2, "in_enc_policy": 0 if request["encryption"] else 2,
        "allowed_enc_level": 2, "prefer_rc4": bool(request["encryption"]), "aio_threads": 1, "hashing_threads": 1, "checking_mem_usage": 64,
        "alert_mask": 1,
    }
    known = lt.default_settings()
    return {key: value for key, value in wanted.items() if key in known}


def closed_filter(lt, allowed):
    """Return an IP filter that lets in only these addresses."""
    closed = lt.ip_filter()
    closed.add_rule("0.0.0.0", "255.255.255.255", 1)  # noqa: S104 - this closes
    closed.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1)
    for address in allowed:
        closed.add_rule(address, address, 0)
    return closed


def join(lt, request):
    """Return (session, torrent): in the swarm, checking what is on the disk."""
    session = lt.session(settings(lt, request))
    session.set_ip_filter(closed_filter(lt, request["allowed"]))
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(lt.bdecode(base64.b64decode(request["metainfo"])))
    parameters.save_path = request["save_path"]
    flags = lt.torrent_flags
    parameters.flags = flags.apply_ip_filter
    for name in ("disable_dht", "disable_lsd", "disable_pex"):
        parameters.flags |= getattr(flags, name, 0)
    if request["watch"]:
        parameters.flags |= flags.super_seeding
    return session, session.add_torrent(parameters)


class Part(object):
    """The part of one peer, looked at several times a second."""

    def __init__(self, session, torrent, request, say):
        self.session, self.torrent, self.request, self.say = session, torrent, request, say
        self.begin = self.sent = self.moved = self.told = time.time()
        self.called = self.checked_at = self.complete = None
        self.checked, self.up, self.down = 0, -1, -1
        self.met = {}

    def look(self, now):
        """Take note of how far it is; returns libtorrent's status."""
        status = self.torrent.status()
        checking = int(status.state) in (1, 7)
        if not checking and self.checked_at is None:
            self.checked_at, self.checked = now, status.total_done
            self.say({"checked": status.total_done, "wanted": status.total_wanted, "port": self.session.listen_port()})
        if status.total_payload_upload != self.up:
            self.up, self.sent = status.total_payload_upload, now
        if status.total_payload_download != self.down or checking:
            self.down, self.moved = status.total_payload_download, now
        if now - self.told >= 1:
            self.told = now
            self.say({"bytes": status.total_done, "wanted": status.total_wanted, "peers": status.num_peers})
        if status.is_seeding and self.complete is None:
            self.complete = self.sent = now
        return status

    def call(self, now):
        """Call the peers that are not connected; libtorrent knows which are."""
        if self.checked_at is None or (self.called is not None and now - self.called < CALL_SECONDS):
            return
        self.called = now
        late = self.request["late_peers"] if now - self.checked_at >= LATE_SECONDS else []
        for address, port in self.request["peers"] + late:
            self.torrent.connect_peer((address, port))

    def suit(self, flags, now):
        """Let the controller's peer seed in the way that suits those who come.

        To peers that have nothing it offers the next piece when it has seen the last one with another peer, so that each leaves the controller
        about once. Peers that lack a few pieces would spend their time waiting for that: they may ask for what they want.
        """
        for peer in self.torrent.get_peer_info():
            if not peer.flags & (peer.connecting | peer.handshake):
                begin, had = self.met.get(peer.ip[0], (now, 0.0))
                # What a peer has is known a moment after it was met; what it gets later is another matter.
                self.met[peer.ip[0]] = (begin, max(had, peer.progress) if now - begin < MEET_SECONDS else had)
        updates = len([had for _begin, had in self.met.values() if had > MUCH])
        (self.torrent.unset_flags if 2 * updates > len(self.met) else self.torrent.set_flags)(flags.super_seeding)

    def needed(self, now):
        """Whether somebody still fetches from this peer, which has everything."""
        needy = [peer for peer in self.torrent.get_peer_info() if not peer.flags & peer.seed]
        return now - self.sent <= IDLE_SECONDS and (bool(needy) or now - self.complete <= 1)

    def state(self):
        """What came of it so far."""
        return {"received": max(self.down, 0), "uploaded": max(self.up, 0), "checked": self.checked, "seconds": time.time() - self.begin}


def follow(session, torrent, request, say, alive, flags):
    """Take part until ``alive()`` says no, or, for a device, until everything is here and nobody fetches any more.

    :returns: the last state as a dict.
    """
    part = Part(session, torrent, request, say)
    while True:
        now = time.time()
        status = part.look(now)
        if status.errc.value():
            return dict(part.state(), done=False, why="libtorrent: %s" % status.errc.message())
        part.call(now)
        if not alive():
            return dict(part.state(), done=bool(status.is_seeding))
        if request["watch"]:
            part.suit(flags, now)
        else:
            if part.complete is not None and not part.needed(now):
                return dict(part.state(), done=True, complete=part.complete - part.begin)
            if request["seconds"] and now - part.begin > request["seconds"] and (part.complete is not None or part.down > 0):
                return dict(part.state(), done=part.complete is not None)
            if part.complete is None and now - part.moved > request["timeout"]:
                return dict(part.state(), done=False, why="no byte came for %d seconds, with %d of %d peers connected" % (
                    request["timeout"], status.num_peers, len(request["peers"]) + len(request["late_peers"])))
        time.sleep(0.1)


def take_part(request, say, alive):
    """Be one peer, from start to end; returns the last state."""
    try:
        import libtorrent as lt  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        return {"done": False, "missing": True, "why": "%s cannot import libtorrent: %s" % (sys.executable, error)}
    if not hasattr(lt, "torrent_flags"):
        return {"done": False, "missing": True, "why": "%s has libtorrent %s, which is older than 1.2" % (sys.executable, lt.__version__)}
    session, torrent = join(lt, request)
    try:
        state = follow(session, torrent, request, say, alive, lt.torrent_flags)
    finally:
        # Files are written behind our back: they are whole on the file system once the torrent is gone.
        session.remove_torrent(torrent)
        end = time.time() + 20
        removed = False
        while not removed and time.time() < end:
            session.wait_for_alert(500)
            removed = any(type(alert).__name__ == "torrent_removed_alert" for alert in session.pop_alerts())
        del torrent, session
    return state


def somebody_waits(folder):
    """Whether one of the processes that have a file in ``folder`` lives."""
    for name in os.listdir(folder):
        with contextlib.suppress(ValueError, OSError):
            os.kill(int(name.split("-")[0]), 0)
            return True
    return False


class Watch(object):
    """Ends the controller's peer some seconds after the last process that needed it.

    Whoever wants to join holds ``<archive>.lock`` meanwhile, so nobody finds a peer that is about to end.
    """

    def __init__(self, folder):
        self.folder, self.since, self.door = folder, time.time(), None

    def alive(self):
        """Whether to go on; once it says no, nobody else gets in before this process has ended."""
        if somebody_waits(self.folder):
            self.since = time.time()
        if time.time() - self.since < WATCH_SECONDS:
            return True
        door = os.open(self.folder[:-len(".swarm")] + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(door)
            return True
        if somebody_waits(self.folder):
            os.close(door)
            return True
        self.door = door
        return False


def serve(request):
    """The controller's peer: says its port in ``<watch>.json`` and holds ``<watch>.lock`` while it lives."""
    folder = request["watch"]
    lock = os.open(folder + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    known = {"pid": os.getpid()}

    def say(what):
        known.update(what)
        with open(folder + ".json.tmp", "w") as stream:
            json.dump(known, stream)
        os.rename(folder + ".json.tmp", folder + ".json")

    try:
        say(take_part(request, say, Watch(folder).alive))
    except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
        say({"done": False, "why": "%s: %s" % (type(error).__name__, error)})


def main():
    """Read the request, take part, say what came of it."""
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    if request["watch"]:
        serve(request)
        return

    def say(what):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    def alive():
        # The end of the input: whoever started this is gone.
        return not (select.select([sys.stdin], [], [], 0)[0] and not os.read(0, 1))

    say(take_part(request, say, alive))


if __name__ == "__main__":
    main()
