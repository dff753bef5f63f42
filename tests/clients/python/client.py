"""The Python client (grpcio): see ../README.md for what it asks and what it answers."""

import json
import math
import queue
import random
import sys

import grpc
from routeguide.route_guide_pb2 import Point, Rectangle, RouteNote
from routeguide.route_guide_pb2_grpc import RouteGuideStub

DEADLINE = 10
NOWHERE = Point(latitude=11, longitude=13)
WORLD = Rectangle(
    lo=Point(latitude=-900000000, longitude=-1800000000),
    hi=Point(latitude=900000000, longitude=1800000000),
)


def same(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def metres(a, b):
    """Length of the great circle between two points, on a sphere of 6,371 km."""
    lat1, lat2 = math.radians(a.latitude / 1e7), math.radians(b.latitude / 1e7)
    dlat, dlon = lat2 - lat1, math.radians((b.longitude - a.longitude) / 1e7)
    h = math.sin(dlat / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(dlon / 2) ** 2
    return 6371000 * 2 * math.atan2(math.sqrt(h), math.sqrt(1 - h))


def list_features(guide):
    features = list(guide.ListFeatures(WORLD, timeout=DEADLINE))
    if len(features) < 2:
        raise AssertionError(f"ListFeatures: {len(features)} features, want two at least")
    same("features without a name", [f for f in features if not f.name], [])
    first = features[0]
    one = list(guide.ListFeatures(Rectangle(lo=first.location, hi=first.location), timeout=DEADLINE))
    same("ListFeatures of one point", one, [first])
    return features


def get_feature(guide, first):
    same("GetFeature", guide.GetFeature(first.location, timeout=DEADLINE), first)
    nothing = guide.GetFeature(NOWHERE, timeout=DEADLINE)
    same("GetFeature nowhere", nothing.name, "")


def record_route(guide, first, second):
    way = [first.location, second.location, NOWHERE]
    summary = guide.RecordRoute(iter(way), timeout=DEADLINE)
    same("RecordRoute points", summary.point_count, 3)
    same("RecordRoute features", summary.feature_count, 2)
    want = metres(way[0], way[1]) + metres(way[1], way[2])
    if abs(summary.distance - want) > 2:
        raise AssertionError(f"RecordRoute distance: got {summary.distance}, want {want:.0f}")


def route_chat(guide):
    here = Point(latitude=random.randrange(1, 900000000), longitude=random.randrange(1, 1800000000))
    there = Point(latitude=-here.latitude, longitude=here.longitude)
    notes = [RouteNote(location=p, message=f"note {i}") for i, p in enumerate([here, there, here, here])]
    to_send = queue.SimpleQueue()
    answers = guide.RouteChat(iter(to_send.get, None), timeout=DEADLINE)
    for note in notes[:3]:
        to_send.put(note)
    # Only a stream that is open both ways can answer before the client has ended.
    same("RouteChat, first answer", next(answers), notes[0])
    to_send.put(notes[3])
    to_send.put(None)
    same("RouteChat, the rest", list(answers), [notes[0], notes[2]])


def main():
    address, ca_file = sys.argv[1:]
    summary = {"client": "python", "library": f"grpcio {grpc.__version__}", "ok": True}
    try:
        with open(ca_file, "rb") as ca:
            credentials = grpc.ssl_channel_credentials(root_certificates=ca.read())
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.secure_channel(address, credentials, options) as channel:
            guide = RouteGuideStub(channel)
            features = list_features(guide)
            get_feature(guide, features[0])
            record_route(guide, features[0], features[1])
            route_chat(guide)
            summary["features"] = len(features)
    except Exception as error:  # whatever it is, it is the answer
        summary.update(ok=False, error=f"{type(error).__name__}: {error}")
    print(json.dumps(summary))
    return 0 if summary["ok"] else 1


sys.exit(main())
