"""Builds and dissects frames with scapy, for frames/references/scapy.ts.

Reads one JSON request a line from stdin and writes one JSON response a line to stdout, in the same order:
  {"build": {"layers": [[name, arguments], ...], "payload": hex, "open": index or null, "segment": bytes or 0}}
    -> {"complete": hex, "open": hex, "start": bytes, "offset": bytes, "segments": [hex, ...]}
  {"dissect": [hex, ...]}
    -> {"found": [{"layers": "Ether/IP/TCP", "wrong": text or null}, ...]}
A request that fails gives {"error": text}.
"""

import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.config import conf  # noqa: E402

# Only these: scapy with all of its layers takes seconds to load.
conf.load_layers = ["l2", "inet", "inet6", "vxlan"]

from scapy.contrib.geneve import GENEVE  # noqa: E402
from scapy.layers.inet import IP, TCP, UDP, in4_pseudoheader  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, in6_pseudoheader)
from scapy.layers.ipsec import AH  # noqa: E402
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether, GRE  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Packet, Raw, bind_layers  # noqa: E402
from scapy.utils import checksum  # noqa: E402

for protocol, layer in ((6, TCP), (17, UDP)):
    bind_layers(AH, layer, nh=protocol)

TO, FROM = "00:16:3e:00:00:07", "02:00:00:00:00:01"
# IANA's protocol numbers (RFC 5237); 253 is for experiments, and no stack knows it.
NUMBERS = {"hbh": 0, "ip4": 4, "tcp": 6, "udp": 17, "ip6": 41, "route": 43, "frag": 44, "gre": 47, "ah": 51, "dest": 60,
           "unknown": 253}
ETHERTYPES = {"ip4": 0x0800, "ip6": 0x86DD, "q": 0x8100, "ad": 0x88A8, "eth": 0x6558, "other": 0x88B5}
CHECKSUM_AT = {"tcp": 16, "udp": 6}
FIN, PSH, CWR = 0x01, 0x08, 0x80


def layer_of(name, args, after):
    """Returns the scapy layer of one header, and its length."""
    size = args.get("bytes", 0)
    number = NUMBERS.get(after, 59)
    kind = ETHERTYPES.get(after, 0x88B5)
    if name == "eth":
        return Ether(dst=TO, src=FROM, type=kind), 14
    if name in ("q", "ad"):
        return (Dot1Q if name == "q" else Dot1AD)(vlan=args["vlan"], prio=args.get("prio", 0), type=kind), 4
    if name == "other":
        return Raw(bytes(size)), size
    if name == "ip4":
        options = [Raw(b"\x01" * size)] if size else []
        more, at = args.get("more", 0), args.get("at", 0)
        return IP(src="10.9.8.1", dst="10.9.8.2", id=args.get("id", 7), ttl=64, proto=number, options=options,
                  flags="MF" if more else args.get("flags", "DF"), frag=at), 20 + size
    if name == "ip6":
        return IPv6(src="fd00::9:1", dst="fd00::9:2", nh=number, tc=args.get("tc", 0), fl=args.get("flow", 0)), 40
    if name in ("hbh", "dest"):
        header = IPv6ExtHdrHopByHop if name == "hbh" else IPv6ExtHdrDestOpt
        return header(nh=number, options=[PadN(optdata=bytes(size - 4))]), size
    if name == "route":
        hops = ["fd00::7:%x" % i for i in range((size - 8) // 16)]
        return IPv6ExtHdrRouting(nh=number, type=0, segleft=0, addresses=hops), size
    if name == "frag":
        return IPv6ExtHdrFragment(nh=number, offset=args.get("at", 0), m=args.get("more", 0), id=0x1234), 8
    if name == "ah":
        return AH(nh=number, payloadlen=size // 4 - 2, spi=1, seq=2, icv=bytes(range(size - 12))), size
    if name == "unknown":
        return Raw(bytes((7 * i + 3) & 0xFF for i in range(size))), size
    if name == "tcp":
        options = [("NOP", None)] * size
        return TCP(sport=1000, dport=2000, seq=args.get("seq", 0xFFFFFF00), ack=5, flags=args.get("flags", 0x18),
                   window=1024, options=options), 20 + size
    if name == "udp":
        return UDP(sport=args.get("sport", 1000), dport=args.get("dport", 2000),
                   **({"chksum": 0} if args.get("none") else {})), 8
    if name == "vxlan":
        return VXLAN(flags=8, vni=42), 8
    if name == "geneve":
        return GENEVE(vni=42, proto=kind), 8
    if name == "gre":
        return GRE(proto=kind), 4
    raise ValueError("no such layer: " + name)


def pseudo_sum(ip, number, size):
    """Returns the value of an open checksum: the sum of the pseudo header."""
    if isinstance(ip, IP):
        # From a dissected IP header scapy would take its length, which also counts extension headers.
        header = in4_pseudoheader(number, IP(src=ip.src, dst=ip.dst), size)
    else:
        header = bytes(in6_pseudoheader(number, ip, size))
    return ~checksum(header) & 0xFFFF


def compose(layers, payload):
    """Returns the frame's bytes with all checksums right, and for each layer (name, start, its nearest IP layer)."""
    chain, places, start, network = [], [], 0, None
    strangers = []
    for index, (name, args) in enumerate(layers):
        after = layers[index + 1][0] if index + 1 < len(layers) else None
        layer, size = layer_of(name, args, after)
        if name in ("ip4", "ip6"):
            network = layer
        places.append((name, start, network))
        # scapy computes no checksum for a transport header behind a layer other than IP.
        if name in CHECKSUM_AT and layers[index - 1][0] in ("ah", "unknown"):
            strangers.append(index)
        chain.append(layer)
        start += size
    if payload:
        chain.append(Raw(payload))
    # The operator `/` would copy all layers so far.
    for under, over in zip(chain, chain[1:]):
        under.add_payload(over)
    # Otherwise scapy first builds a copy of each layer.
    for layer in chain:
        layer.explicit = 1
    frame = bytearray(bytes(chain[0]))
    if len(frame) != start + len(payload):
        raise ValueError("%d bytes, where the layers have %d" % (len(frame), start + len(payload)))
    for index in strangers:
        name, at, network = places[index]
        put16(frame, at + CHECKSUM_AT[name], 0)
        total = (pseudo_sum(network, NUMBERS[name], len(frame) - at) + (~checksum(bytes(frame[at:])) & 0xFFFF))
        value = ~(total % 0xFFFF) & 0xFFFF
        # 0 means that there is none (RFC 768).
        put16(frame, at + CHECKSUM_AT[name], 0xFFFF if value == 0 and name == "udp" else value)
    return frame, places


def put16(frame, at, value):
    frame[at:at + 2] = value.to_bytes(2, "big")


def build(request):
    layers, payload = request["layers"], bytes.fromhex(request["payload"])
    frame, places = compose(layers, payload)
    response = {"complete": frame.hex(), "open": frame.hex(), "start": 0, "offset": 0, "segments": []}
    if request["open"] is None:
        return response
    name, start, network = places[request["open"]]
    opened = bytearray(frame)
    put16(opened, start + CHECKSUM_AT[name], pseudo_sum(network, NUMBERS[name], len(frame) - start))
    response.update(open=opened.hex(), start=start, offset=CHECKSUM_AT[name])
    if request["segment"]:
        response["segments"] = segments(layers, payload, request["segment"])
    return response


def segments(layers, payload, size):
    """Returns the segments of a frame with segmentation offload. scapy builds each as a frame of its own."""
    pieces = [payload[at:at + size] for at in range(0, len(payload), size)] or [b""]
    found = []
    for index, piece in enumerate(pieces):
        own = []
        for name, args in layers:
            args = dict(args)
            if name == "tcp":
                flags = args.get("flags", 0x18)
                if index + 1 < len(pieces):
                    flags &= ~(FIN | PSH)
                if index > 0:
                    flags &= ~CWR
                args.update(flags=flags, seq=(args.get("seq", 0xFFFFFF00) + index * size) & 0xFFFFFFFF)
            if name == "ip4":
                args["id"] = (args.get("id", 7) + index) & 0xFFFF
            own.append([name, args])
        found.append(compose(own, piece)[0].hex())
    return found


def dissect(text):
    """Returns the names of a frame's layers, and the first wrong checksum or length in it."""
    packet = Ether(bytes.fromhex(text))
    names, wrong, network, whole = [], None, None, True
    layer = packet
    while isinstance(layer, Packet) and not layer.__class__.__name__ == "NoPayload":
        names.append(layer.name)
        original = layer.original
        if isinstance(layer, IP):
            network, whole = layer, layer.frag == 0 and not layer.flags.MF
            if checksum(original[:layer.ihl * 4]) != 0:
                wrong = wrong or "IPv4 header checksum"
            if layer.len != len(original):
                wrong = wrong or "IPv4 length %d of %d" % (layer.len, len(original))
        elif isinstance(layer, IPv6):
            network, whole = layer, True
            if layer.plen != len(original) - 40:
                wrong = wrong or "IPv6 length %d of %d" % (layer.plen, len(original) - 40)
        elif isinstance(layer, IPv6ExtHdrFragment):
            whole = layer.offset == 0 and layer.m == 0
        elif isinstance(layer, (TCP, UDP)) and whole and not (isinstance(layer, UDP) and layer.chksum == 0):
            number = 6 if isinstance(layer, TCP) else 17
            total = pseudo_sum(network, number, len(original)) + (~checksum(original) & 0xFFFF)
            if total % 0xFFFF != 0:
                wrong = wrong or layer.name + " checksum"
        layer = layer.payload
    return {"layers": "/".join(names), "wrong": wrong}


for line in sys.stdin:
    try:
        request = json.loads(line)
        answer = build(request["build"]) if "build" in request else {"found": [dissect(t) for t in request["dissect"]]}
    except Exception as error:  # The reader reports it, with the request.
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
