//! The places that the demo knows: a grid of a hundred in and around New Jersey, where the
//! RouteGuide tutorials travel, plus the one that their clients ask for by heart.

use std::collections::HashMap;
use std::sync::LazyLock;

use proto::routeguide::Point;

const SIDE: usize = 10;
const FIRST: [&str; SIDE] = [
    "Amber", "Birch", "Cedar", "Dune", "Elder", "Flint", "Granite", "Heron", "Iris", "Juniper",
];
const SECOND: [&str; SIDE] = [
    "Bridge",
    "Crossing",
    "Farm",
    "Harbour",
    "Hill",
    "Lighthouse",
    "Mill",
    "Orchard",
    "Pond",
    "Station",
];

/// South-west corner of the grid and its step, in degrees times ten million.
const SOUTH: i32 = 400_000_000;
const WEST: i32 = -750_000_000;
const STEP: i32 = 2_000_000;

/// The place that the clients of the gRPC tutorials ask GetFeature for.
const WELL_KNOWN: (&str, Point) = (
    "Berkshire Valley",
    Point {
        latitude: 409_146_138,
        longitude: -746_188_906,
    },
);

static ALL: LazyLock<Vec<(String, Point)>> = LazyLock::new(|| {
    let rows = FIRST.iter().zip((SOUTH..).step_by(STEP as usize));
    let grid = rows.flat_map(|(first, latitude)| {
        let columns = SECOND.iter().zip((WEST..).step_by(STEP as usize));
        columns.map(move |(second, longitude)| (format!("{first} {second}"), Point { latitude, longitude }))
    });
    let well_known = (WELL_KNOWN.0.to_owned(), WELL_KNOWN.1);
    grid.chain([well_known]).collect()
});

static BY_PLACE: LazyLock<HashMap<(i32, i32), &'static str>> = LazyLock::new(|| {
    let places = all()
        .iter()
        .map(|(name, point)| ((point.latitude, point.longitude), name.as_str()));
    places.collect()
});

/// All features: name and place, in a fixed order.
pub fn all() -> &'static [(String, Point)] {
    &ALL
}

/// The name of what stands at exactly this point.
pub fn at(point: Point) -> Option<&'static str> {
    BY_PLACE.get(&(point.latitude, point.longitude)).copied()
}

/// Says if a point lies between two opposite corners, borders included.
pub fn inside(point: Point, corner: Point, opposite: Point) -> bool {
    let between = |x: i32, a: i32, b: i32| (a.min(b)..=a.max(b)).contains(&x);
    between(point.latitude, corner.latitude, opposite.latitude)
        && between(point.longitude, corner.longitude, opposite.longitude)
}

/// Metres along the great circle, on a sphere of 6,371 km (haversine).
pub fn distance(from: Point, to: Point) -> f64 {
    const RADIUS: f64 = 6_371_000.0;
    let radians = |e7: i32| (f64::from(e7) / 1e7).to_radians();
    let (lat_from, lat_to) = (radians(from.latitude), radians(to.latitude));
    let half_lat = (lat_to - lat_from) / 2.0;
    let half_lon = (radians(to.longitude) - radians(from.longitude)) / 2.0;
    let a = half_lat.sin().powi(2) + lat_from.cos() * lat_to.cos() * half_lon.sin().powi(2);
    // Rounding can carry opposite points just above 1, where the root is not a number.
    2.0 * RADIUS * a.min(1.0).sqrt().asin()
}
