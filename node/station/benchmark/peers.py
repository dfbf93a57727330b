"""The same passes by other programs: Skyfield's find_events, and numpy with the Python package sgp4.

    peers.py FOLDER PAIRS

FOLDER is what the example 'network' wrote. Skyfield searches PAIRS pairs of a satellite and a station, spread evenly;
its time for all of them is that, scaled. numpy looks every 60 s and only notes where the sign changes: it refines nothing.
Both run in one thread.
"""

import csv
import datetime
import importlib.metadata
import pathlib
import sys
import time

import numpy as np
from sgp4.api import Satrec, SatrecArray
from skyfield.api import EarthSatellite, load, wgs84

folder, pairs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
lines = (folder / "elements.tle").read_text().split("\n")
elements = [(lines[i], lines[i + 1]) for i in range(0, len(lines) - 1, 2)]
stations = [tuple(map(float, line.split(","))) for line in (folder / "stations.txt").read_text().split()]
start_text, hours, mask = (folder / "window.txt").read_text().split()
start = datetime.datetime.fromisoformat(start_text.replace("Z", "+00:00"))
hours, mask = float(hours), float(mask)
ours = {}
with open(folder / "passes.csv") as file:
    for satellite, station, aos, tca, los, _ in csv.reader(file):
        ours.setdefault((int(satellite), int(station)), []).append((aos, float(tca), los))
total = len(elements) * len(stations)


def julian(moment):
    days = (moment - datetime.datetime(2000, 1, 1, 12, tzinfo=datetime.timezone.utc)).total_seconds() / 86400
    return 2451545.0 + np.floor(days), days - np.floor(days)


def numpy_passes(step=60.0):
    satellites = SatrecArray([Satrec.twoline2rv(*pair) for pair in elements])
    seconds = np.arange(0, hours * 3600 + step / 2, step)
    whole, part = julian(start)
    fraction = part + seconds / 86400
    days = whole - 2451545.0 + fraction
    centuries = days / 36525
    gmst = np.radians((67310.54841 + 86400 * (days % 1) + centuries * (8640184.812866 + centuries * 0.093104)) / 240)
    cos, sin = np.cos(gmst), np.sin(gmst)
    ground = []
    for latitude, longitude, altitude in stations:
        lat, lon, e2 = np.radians(latitude), np.radians(longitude), (2 - 1 / 298.257223563) / 298.257223563
        n = 6378.137 / np.sqrt(1 - e2 * np.sin(lat) ** 2)
        flat = (n + altitude / 1e3) * np.cos(lat)
        place = np.array([flat * np.cos(lon), flat * np.sin(lon), (n * (1 - e2) + altitude / 1e3) * np.sin(lat)])
        up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        ground.append((place, up))
    sine, count = np.sin(np.radians(mask)), 0
    for begin in range(0, len(elements), 200):
        part_of = SatrecArray([Satrec.twoline2rv(*pair) for pair in elements[begin : begin + 200]])
        error, position, _ = part_of.sgp4(np.full(len(seconds), whole), fraction)
        x, y, z = position[..., 0], position[..., 1], position[..., 2]
        fixed = (cos * x + sin * y, cos * y - sin * x, z)
        for place, up in ground:
            line = [fixed[i] - place[i] for i in range(3)]
            height = line[0] * up[0] + line[1] * up[1] + line[2] * up[2]
            above = (height >= sine * np.sqrt(line[0] ** 2 + line[1] ** 2 + line[2] ** 2)) & (error == 0)
            count += int(above[:, 0].sum() + (above[:, 1:] & ~above[:, :-1]).sum())
    del satellites
    return count


def skyfield_passes():
    scale = load.timescale(builtin=True)
    satellites = [EarthSatellite(*pair, ts=scale) for pair in elements]
    sites = [wgs84.latlon(la, lo, elevation_m=al) for la, lo, al in stations]
    begin, end = scale.from_datetime(start), scale.from_datetime(start + datetime.timedelta(hours=hours))
    chosen = [(i * total // pairs) for i in range(pairs)]
    results, began = {}, time.perf_counter()
    for index in chosen:
        satellite, site = index // len(stations), index % len(stations)
        times, events = satellites[satellite].find_events(sites[site], begin, end, altitude_degrees=mask)
        results[satellite, site] = (times, events)
    took = time.perf_counter() - began
    rises = off = missing = 0
    worst = 0.0
    for key, (times, events) in results.items():
        mine = [float(aos) for aos, _, _ in ours.get(key, []) if aos]
        theirs = [(t.utc_datetime() - start).total_seconds() for t, e in zip(times, events) if e == 0]
        rises += len(mine)
        for aos in mine:
            nearest = min((abs(aos - other) for other in theirs), default=1e9)
            missing += nearest > 5
            worst = max(worst, nearest if nearest <= 5 else 0.0)
        off += sum(min((abs(aos - other) for aos in mine), default=1e9) > 5 for other in theirs)
    return took, rises, missing, off, worst


began = time.perf_counter()
count = numpy_passes()
numpy_took = time.perf_counter() - began
version = importlib.metadata.version
print(f"numpy {version('numpy')} + sgp4 {version('sgp4')}, every 60 s, nothing refined: {count} passes in {numpy_took:.2f} s")
took, rises, missing, invented, worst = skyfield_passes()
print(
    f"Skyfield {version('skyfield')} find_events: {pairs} of {total} pairs in {took:.2f} s, so {took * total / pairs:.1f} s for all"
)
print(
    f"of our {rises} AOS in these pairs it lacks {missing}; of its own {invented} are not ours; "
    f"where both have one they differ by at most {worst:.3f} s"
)
