"""The text of a UAPI reply: valid and invalid replies, and that secret keys are wiped."""

from __future__ import annotations

import ipaddress
import re
import traceback
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from exporter import errors
from exporter.model import Device, Peer
from exporter.sources.uapitext import OLDEST_HANDSHAKE, Memory, parse
from tests.kit.paths import TESTDATA
from tests.kit.servers.uapiserver import base64_key

UAPI = TESTDATA / "uapi"
WIREGUARD_GO = (UAPI / "wireguard-go-tunnel.txt").read_bytes()
BORINGTUN = (UAPI / "boringtun-tunnel.txt").read_bytes()
PRIVATE_KEY = "b832d26e53862c16b56d42f79044836e50e47c56cdebff7d80192233a7d97673"
PRESHARED_KEY = "5c22a502c786e6f409d8563052dab7a27438b5538946e3948129fae7f29fcec9"
OWN_KEY = "JUs+ujQkw/wMau8mWcJAfxBWeRLAGsn14pwRE2Ug+gg="
NOW = 1_800_000_000.75


def peer_lines(key: str, *lines: str) -> str:
    return "\n".join([f"public_key={key * 64}", *lines, "rx_bytes=1", "tx_bytes=2", ""])


def read_text(text: str, memory: Memory | None = None, now: float = NOW) -> Device:
    return parse(bytearray(text.encode() + b"errno=0\n\n"), "wg0", now, memory)


# Valid replies


def test_wireguard_go_reply_is_decoded_field_by_field() -> None:
    """A real wireguard-go reply gives its key, port, mark and peers, sorted by public key."""
    device = parse(bytearray(WIREGUARD_GO), "wg0", NOW)
    assert device == Device(
        name="wg0",
        kind="userspace",
        public_key=OWN_KEY,
        listen_port=51820,
        fwmark=85,
        peers=(
            Peer(
                public_key="IH/6W9CzgMv0+mzgrju9pR9k0hHJQVarOvzkRLssfV0=",
                allowed_ips=("10.9.0.2/32", "fd00:9::2/128", "0.0.0.0/0", "::/0"),
                endpoint="192.0.2.2:51821",
                persistent_keepalive=25,
                has_preshared_key=True,
            ),
            Peer(public_key="r4+XSuyuDCIWw0X8FWuR5F1Uef9GD+QwcVd/A8F2P3w=", allowed_ips=("10.9.1.0/24",)),
            Peer(
                public_key="yfga3LHipN4EnoNHixctBPC1glm9qA2Dr9fajb7Zvls=",
                endpoint="[2001:db8::5]:51820",
                persistent_keepalive=65535,
            ),
        ),
        last_handshake=(1795385767, 0, 0),
        receive_bytes=(348, 0, 0),
        transmit_bytes=(436, 0, 0),
    )


def test_boringtun_handshakes_become_wall_clock_times() -> None:
    """boringtun's time since a handshake is converted; no line means never, and 0 s 0 ns means now."""
    device = parse(bytearray(BORINGTUN), "wg0", NOW)
    assert device.public_key == OWN_KEY
    assert list(device.last_handshake) == [int(NOW - 37.5), 0, int(NOW)]
    assert list(device.receive_bytes) == [84, 0, 2**64 - 1]


def test_boringtun_handshakes_in_wall_clock_time_are_kept() -> None:
    """A version of boringtun that sends UNIX times gives these times, also if the clock of the host is
    wrong."""
    text = (UAPI / "boringtun-absolute.txt").read_bytes().replace(b"{NOW-65}", b"1799999935")
    for now in (NOW, 1_000_000.5):
        assert list(parse(bytearray(text), "wg0", now).last_handshake) == [1799999935]


@pytest.mark.parametrize(
    ("seconds", "handshake"),
    [(OLDEST_HANDSHAKE, 1_800_000_000 - OLDEST_HANDSHAKE), (OLDEST_HANDSHAKE + 1, OLDEST_HANDSHAKE + 1)],
)
def test_ten_years_separate_times_since_handshakes_from_wall_clock_times(
    seconds: int, handshake: int
) -> None:
    """Beside own_public_key, ten years are a time since the handshake, and one second more is a UNIX time."""
    lines = (f"last_handshake_time_sec={seconds}", "last_handshake_time_nsec=0")
    text = f"own_public_key={'f' * 64}\n" + peer_lines("a", *lines)
    assert list(read_text(text).last_handshake) == [handshake]


@pytest.mark.parametrize("file", ["wireguard-go-new.txt", "boringtun-new.txt"])
def test_interface_without_configuration_has_no_key_and_no_peers(file: str) -> None:
    """A process that was just started gives a device without keys and peers."""
    device = parse(bytearray((UAPI / file).read_bytes()), "wg0", NOW)
    assert (device.public_key, device.peers, device.fwmark) == ("", (), 0)


def test_private_key_of_zeros_is_no_key() -> None:
    """A private key of zeros means that no private key is set."""
    assert read_text(f"private_key={'0' * 64}\n").public_key == ""


def test_order_and_unknown_keys_do_not_matter() -> None:
    """Lines in any order give the same device, and unknown keys are ignored, even if they repeat."""
    usual = peer_lines("a", "endpoint=192.0.2.1:5", "last_handshake_time_sec=7", "last_handshake_time_nsec=0")
    opening, *rest = usual.splitlines(keepends=True)
    shuffled = "colour=é=1\n" + opening + "colour=red\ncolour=\n" + "".join(reversed(rest))
    assert read_text(shuffled) == read_text(usual)


def test_handshake_without_nanoseconds_counts() -> None:
    """A handshake at a whole second is a handshake; only 0 s 0 ns means never."""
    lines = ("last_handshake_time_sec=1700000000", "last_handshake_time_nsec=0")
    assert list(read_text(peer_lines("a", *lines)).last_handshake) == [1700000000]


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("192.0.2.1:51820", "192.0.2.1:51820"),
        ("[2001:db8:0::1]:1", "[2001:db8::1]:1"),
        ("[fe80::1%eth0.5]:65535", "[fe80::1%eth0.5]:65535"),
        ("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.1]:1"),
    ],
)
def test_endpoints_keep_their_form(endpoint: str, shown: str) -> None:
    """Endpoints of both address families, also with a zone, are in the format of wg(8)."""
    assert read_text(peer_lines("a", f"endpoint={endpoint}")).peers[0].endpoint == shown


# Objects and handshakes that stay equal between two readings


def test_unchanged_peers_stay_the_same_objects() -> None:
    """After a reordering only a changed peer is a new object, and a removed peer is forgotten."""
    memory = Memory()
    before = read_text(peer_lines("a") + peer_lines("b", "allowed_ip=10.0.0.1/32") + peer_lines("c"), memory)
    after = read_text(peer_lines("b", "allowed_ip=10.0.0.2/32") + peer_lines("a"), memory)
    assert after.peers[0] is before.peers[0]
    assert after.peers[1] == Peer(base64_key("b" * 64), ("10.0.0.2/32",))
    assert set(memory.peers) == {"a" * 64, "b" * 64}


def test_boringtun_handshake_does_not_jitter() -> None:
    """The time of a handshake stays equal although each reading computes it again; a new handshake changes
    it."""
    memory = Memory()

    def handshake(since: float, now: float) -> int:
        seconds, fraction = divmod(since, 1)
        lines = (f"last_handshake_time_sec={seconds:.0f}", f"last_handshake_time_nsec={fraction * 1e9:.0f}")
        text = f"own_public_key={'f' * 64}\n" + peer_lines("a", *lines)
        return read_text(text, memory, now).last_handshake[0]

    times = [
        handshake(since, 1000 + since + late) for since, late in [(5, 0), (20, 0.9), (35, 1.7), (50, -0.2)]
    ]
    assert times == [1000] * 4
    assert handshake(0, 1120) == 1120


def test_bad_reply_leaves_the_memory_alone() -> None:
    """A reply with an error does not change the memory: the next valid reply gives the same peer objects."""
    memory = Memory()
    before = read_text(peer_lines("a"), memory)
    with pytest.raises(errors.Malformed):
        read_text(peer_lines("b") + peer_lines("c", "allowed_ip=x"), memory)
    assert read_text(peer_lines("a"), memory).peers[0] is before.peers[0]


# Invalid replies and their errors


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("listen_port=65536\n", "line 1 .* listen_port: must be a whole number from 0 to 65535"),
        ("fwmark=0x55\n", "line 1 .* fwmark:"),
        ("listen_port=1\nfwmark=\u0663\n", "line 2 .* fwmark:"),
        ("private_key=" + "g" * 64 + "\n", "line 1 .* private_key: must be 64 hexadecimal digits"),
        ("private_key=\n", "line 1 .* private_key:"),
        ("own_public_key=" + "a" * 63 + "\n", "line 1 .* own_public_key: must be 64 hexadecimal digits"),
        ("nonsense\n", "line 1 .* must be KEY=VALUE"),
        ("rx_bytes=1\n", "line 1 .* rx_bytes: belongs to a peer"),
        (f"public_key={'a' * 64}\ntx_bytes=1\n", "line 1 .* rx_bytes: is missing"),
        (peer_lines("a") + peer_lines("xy"), "line 4 .* public_key: must be 64 hexadecimal digits"),
        (peer_lines("a") + peer_lines("a"), "line 4 .* public_key: the reply has this peer twice"),
        (peer_lines("a") + peer_lines("A"), "line 4 .* public_key: the reply has this peer twice"),
        (peer_lines("a", "listen_port=1"), "line 2 .* listen_port: belongs to the interface"),
        (peer_lines("a", "tx_bytes=1"), "line 4 .* tx_bytes: occurs twice"),
        (peer_lines("a", "preshared_key=12"), "line 2 .* preshared_key: must be 64 hexadecimal digits"),
        (peer_lines("a", "preshared_key=" + "*" * 64), "line 2 .* preshared_key: must be 64"),
        (peer_lines("a", "endpoint=192.0.2.1"), "line 2 .* endpoint: must be ADDRESS:PORT"),
        (peer_lines("a", "endpoint=192.0.2.256:1"), "line 2 .* endpoint:"),
        (peer_lines("a", "endpoint=[192.0.2.1]:1"), "line 2 .* endpoint:"),
        (peer_lines("a", "endpoint=192.0.2.1:65536"), "line 2 .* endpoint:"),
        (peer_lines("a", "allowed_ip=10.0.0.1/32", "allowed_ip=10.0.0.1/33"), "line 3 .* from 0 to 32"),
        (
            peer_lines("a", "allowed_ip=fd00::1"),
            "line 2 .* allowed_ip: must have a prefix length from 0 to 128",
        ),
        (peer_lines("a", "allowed_ip=\0/1"), "line 2 .* allowed_ip: must be ADDRESS/LENGTH"),
        (peer_lines("a", "last_handshake_time_sec=1"), "line 1 .* last_handshake_time_nsec: is missing"),
        (peer_lines("a", "persistent_keepalive_interval=-1"), "line 2 .* persistent_keepalive_interval:"),
    ],
)
def test_malformed_lines_are_named(text: str, place: str) -> None:
    """A line that violates the protocol gives an error with interface, line, key and the correct form."""
    with pytest.raises(errors.Malformed, match=f"^wg0: {place}"):
        read_text(text)


def test_error_number_of_the_process_is_told_in_words() -> None:
    """wireguard-go's negative error number is reported with its text."""
    reply = (UAPI / "wireguard-go-refused.txt").read_bytes()
    with pytest.raises(errors.ReadFailed, match=r"wg0: .* errno 22 \(Invalid argument\)"):
        parse(bytearray(reply), "wg0", NOW)


def test_reply_without_errno_is_refused() -> None:
    """A reply whose blank line does not follow an errno line is refused."""
    with pytest.raises(errors.Malformed, match=r"wg0: line 2 .* errno: must be the last line"):
        parse(bytearray(b"listen_port=1\nfwmark=1\n\n"), "wg0", NOW)


@pytest.mark.parametrize("reply", [WIREGUARD_GO, WIREGUARD_GO.replace(b"/0\n", b"/x\n"), WIREGUARD_GO[:-1]])
def test_keys_are_wiped_and_in_no_error(reply: bytes) -> None:
    """After a valid and after an invalid reply the buffer is zeroed, and no error or local variable has a
    secret key."""
    buffer = bytearray(reply)
    found = ""
    try:
        parse(buffer, "wg0", NOW)
    except errors.ReadError as error:
        found = everything_in(error)
    assert bool(found) == (reply != WIREGUARD_GO)
    assert buffer == bytes(len(reply))
    for secret in (PRIVATE_KEY, PRESHARED_KEY):
        assert secret[:12] not in found


def test_decoded_private_key_is_wiped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoded private key is zeroed as soon as the public key is derived."""
    handed: list[bytearray] = []
    derive = X25519PrivateKey.from_private_bytes

    def spy(data: bytearray) -> X25519PrivateKey:
        handed.append(data)
        return derive(data)

    monkeypatch.setattr(X25519PrivateKey, "from_private_bytes", spy)
    assert parse(bytearray(WIREGUARD_GO), "wg0", NOW).public_key == OWN_KEY
    assert handed == [bytearray(32)]


def everything_in(error: BaseException | None) -> str:
    """The error and its contexts with all local variables, except the test's own."""
    found = ""
    while error:
        trace = error.__traceback__
        inner = trace.tb_next if trace and trace.tb_frame.f_code.co_filename == __file__ else trace
        found += "".join(
            traceback.TracebackException(type(error), error, inner, capture_locals=True).format(chain=False)
        )
        error = error.__context__
    return found


# Properties: any device in any order, any damage


DAMAGE = [b"\n", b"\n\n", b"=", b"0", b"-", b"/", b" ", b"_", b"\x00", b"\xff", b"errno=0\n"]


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """A reply of either implementation, with lines in any order and unknown keys."""
    number = st.integers(0, 2**64 - 1)
    own = draw(st.sampled_from(["", "private_key=", "own_public_key="]))
    head = [f"{own}{draw(st.binary(min_size=32, max_size=32)).hex()}"] if own else []
    head += draw(st.sampled_from([[], ["listen_port=51820"], ["fwmark=4294967295", "listen_port=1"]]))
    lines = draw(st.permutations(head))
    for key in draw(st.lists(st.binary(min_size=32, max_size=32), max_size=3, unique=True)):
        peer = [f"rx_bytes={draw(number)}", f"tx_bytes={draw(number)}"]
        seconds = draw(st.none() | st.integers(0, 2**31))
        if seconds is not None:
            peer += [f"last_handshake_time_sec={seconds}", "last_handshake_time_nsec=999999999"]
        optional = [
            f"preshared_key={draw(st.sampled_from(['0' * 64, 'c' * 64]))}",
            f"endpoint={draw(st.sampled_from(['192.0.2.7:1', '[2001:db8::7]:1', '[fe80::7%eth0]:1']))}",
            "persistent_keepalive_interval=25",
            "protocol_version=1",
            "future=a=b",
        ]
        peer += draw(st.lists(st.sampled_from(optional), unique=True))
        peer += [
            f"allowed_ip={ip}"
            for ip in draw(st.lists(st.sampled_from(["10.0.0.0/8", "::/0", "fd00::1/128"])))
        ]
        lines += [f"public_key={key.hex()}", *draw(st.permutations(peer))]
    return ("\n".join([*lines, "errno=0"]) + "\n\n").encode()


def canonical(endpoint: str) -> str:
    """The endpoint in canonical form: damage may leave `192.0.2.7:01`."""
    host, _, port = endpoint.rpartition(":")
    address = re.sub(r"[0-9a-fA-F:.]+", lambda found: str(ipaddress.ip_address(found[0])), host, count=1)
    return f"{address}:{int(port)}" if endpoint else ""


def plainly(reply: bytes, now: float) -> Device:
    """A plain decoder without checks, line by line; correct for every valid reply."""
    own, numbers, relative = "", {"listen_port": 0, "fwmark": 0}, False
    peers: list[dict[str, str]] = []
    allowed: list[list[str]] = []
    for line in reply.decode(errors="surrogateescape").partition("\n\n")[0].split("\n"):
        key, _, value = line.partition("=")
        if key == "public_key":
            peers.append({"preshared_key": "0", "last_handshake_time_sec": "-1"})
            allowed.append([])
        if key == "allowed_ip":
            allowed[-1].append(value)
        elif peers:
            peers[-1][key] = value
        elif key == "private_key" and value.strip("0") and not relative:
            private = X25519PrivateKey.from_private_bytes(bytes.fromhex(value))
            own = b64encode(private.public_key().public_bytes_raw()).decode()
        elif key == "own_public_key":
            own, relative = base64_key(value), True
        elif key in numbers:
            numbers[key] = int(value)
    rows = []
    for peer, ips in zip(peers, allowed, strict=True):
        seconds = int(peer["last_handshake_time_sec"])
        if relative and 0 <= seconds <= OLDEST_HANDSHAKE:
            seconds = max(1, int(now - seconds - int(peer["last_handshake_time_nsec"]) / 1e9))
        made = Peer(
            public_key=base64_key(peer["public_key"]),
            allowed_ips=tuple(ipaddress.ip_interface(ip).with_prefixlen for ip in ips),
            endpoint=canonical(peer.get("endpoint", "")),
            persistent_keepalive=int(peer.get("persistent_keepalive_interval", 0)),
            has_preshared_key=bool(peer["preshared_key"].strip("0")),
            protocol_version=int(peer.get("protocol_version", 1)),
        )
        rows.append((made, max(0, seconds), int(peer["rx_bytes"]), int(peer["tx_bytes"])))
    rows.sort(key=lambda row: row[0].public_key)
    columns = [tuple(column) for column in zip(*rows, strict=True)] or [()] * 4
    return Device("wg0", "userspace", "", own, numbers["listen_port"], numbers["fwmark"], None, *columns)


@given(replies())
def test_every_valid_reply_is_read_right(reply: bytes) -> None:
    """For either implementation and any order of lines, the device equals that of the plain decoder."""
    assert parse(bytearray(reply), "wg0", NOW) == plainly(reply, NOW)


@given(replies(), st.data())
def test_truncated_reply_is_always_an_error(reply: bytes, data: st.DataObject) -> None:
    """A reply that is cut anywhere is refused, and its buffer is wiped."""
    cut = bytearray(reply[: data.draw(st.integers(0, len(reply) - 1))])
    with pytest.raises(errors.DumpTruncated):
        parse(cut, "wg0", NOW)
    assert not any(cut)


@given(replies(), st.data())
def test_damaged_reply_is_an_error_or_read_right(reply: bytes, data: st.DataObject) -> None:
    """A reply with replaced, removed or inserted bytes is refused, or decoded as the plain decoder does."""
    start = data.draw(st.integers(0, len(reply)))
    stop = data.draw(st.integers(start, min(len(reply), start + 3)))
    damaged = reply[:start] + data.draw(st.sampled_from(DAMAGE) | st.binary(max_size=2)) + reply[stop:]
    refused_or_right(damaged)


@given(replies(), st.data())
def test_lost_and_repeated_lines_are_an_error_or_read_right(reply: bytes, data: st.DataObject) -> None:
    """With a missing or repeated line, no peer gets the values of another."""
    lines = reply.splitlines(keepends=True)
    index = data.draw(st.integers(0, len(lines) - 1))
    times = data.draw(st.sampled_from([0, 2]))
    refused_or_right(b"".join([*lines[:index], *[lines[index]] * times, *lines[index + 1 :]]))


def refused_or_right(damaged: bytes) -> None:
    try:
        device = parse(bytearray(damaged), "wg0", NOW)
    except errors.ReadError as error:
        message = str(error)
    else:
        assert device == plainly(damaged, NOW)
        message = ""
    assert not re.search("[0-9a-fA-F]{9}", re.sub("from 0 to [0-9]+", "", message)), (
        "the message contains a value"
    )
