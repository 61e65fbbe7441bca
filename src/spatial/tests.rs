use geo::{Contains, Distance, Geodesic, Intersects, LineString, Polygon};
use proptest::prelude::*;

use super::*;
use crate::model::Datum;

fn p(lon: f64, lat: f64) -> Point {
    Point::new(lon, lat)
}

fn geodesic_m(a: Point, b: Point) -> f64 {
    Geodesic.distance(geo::Point::new(a.lon, a.lat), geo::Point::new(b.lon, b.lat))
}

/// A grid of points over a city's box.
fn city(lon: (f64, f64), lat: (f64, f64)) -> impl Iterator<Item = Point> {
    const STEPS: usize = 40;
    let at = |(from, to): (f64, f64), i: usize| from + (to - from) * i as f64 / STEPS as f64;
    (0..=STEPS).flat_map(move |i| (0..=STEPS).map(move |j| p(at(lon, i), at(lat, j))))
}

/// The offsets that the datums have in six cities, metres, and the inverse over each.
#[test]
fn datum_offsets_are_those_measured_and_the_inverse_is_good_to_a_centimetre() {
    type Case = (&'static str, (f64, f64), (f64, f64), Datum, (f64, f64));
    let cases: &[Case] = &[
        ("Shenzhen", (113.85, 114.35), (22.58, 22.80), Datum::Gcj02, (560.0, 625.0)),
        ("Guangzhou", (113.1, 113.6), (22.95, 23.35), Datum::Gcj02, (580.0, 640.0)),
        ("Beijing", (116.2, 116.6), (39.75, 40.05), Datum::Gcj02, (500.0, 570.0)),
        ("Shanghai", (121.3, 121.7), (31.1, 31.4), Datum::Gcj02, (450.0, 500.0)),
        ("Chengdu", (103.9, 104.25), (30.5, 30.8), Datum::Gcj02, (340.0, 380.0)),
        ("Changsha", (112.85, 113.1), (28.1, 28.3), Datum::Gcj02, (650.0, 680.0)),
        ("Shenzhen", (113.85, 114.35), (22.58, 22.80), Datum::Bd09, (1170.0, 1265.0)),
        ("Beijing", (116.2, 116.6), (39.75, 40.05), Datum::Bd09, (1285.0, 1390.0)),
        ("Chengdu", (103.9, 104.25), (30.5, 30.8), Datum::Bd09, (880.0, 990.0)),
    ];
    for (name, lon, lat, datum, (least, most)) in cases {
        for true_point in city(*lon, *lat) {
            let shown = from_wgs84(*datum, true_point);
            let offset = geodesic_m(true_point, shown);
            assert!((*least..=*most).contains(&offset), "{name} {datum:?}: {offset:.1} m at {true_point:?}");
            let back = to_wgs84(*datum, shown.lon, shown.lat);
            let residual = geodesic_m(true_point, back);
            assert!(residual < 0.01, "{name} {datum:?}: {residual} m at {true_point:?}");
        }
    }
}

#[test]
fn nothing_is_converted_outside_the_mainland() {
    let abroad = [
        ("Hong Kong, Central", 114.158, 22.282),
        ("Hong Kong, Sha Tin", 114.195, 22.382),
        ("Macau", 113.543, 22.190),
        ("Taipei", 121.56, 25.04),
        ("Athens", 23.72, 37.97),
        ("Seoul", 126.98, 37.57),
        ("Hanoi", 105.85, 21.03),
    ];
    for (name, lon, lat) in abroad {
        assert_eq!(to_wgs84(Datum::Gcj02, lon, lat), p(lon, lat), "{name}");
        assert_eq!(from_wgs84(Datum::Gcj02, p(lon, lat)), p(lon, lat), "{name}");
    }
}

/// Right at the border: what is the mainland's converts there and back, however near.
#[test]
fn mainland_points_near_the_hong_kong_and_macau_borders_convert() {
    let near = [
        ("Shenzhen, Luohu", 114.118, 22.545),
        ("Shenzhen, Futian", 114.055, 22.535),
        ("Shenzhen, Shekou", 113.915, 22.485),
        ("Shenzhen, Qianhai", 113.90, 22.52),
        ("Shenzhen, Yantian", 114.24, 22.56),
        ("Shenzhen, Nan'ao", 114.49, 22.53),
        ("Zhuhai, Xiangzhou", 113.55, 22.27),
    ];
    for (name, lon, lat) in near {
        let shown = from_wgs84(Datum::Gcj02, p(lon, lat));
        let offset = geodesic_m(p(lon, lat), shown);
        assert!((500.0..700.0).contains(&offset), "{name}: {offset}");
        let back = to_wgs84(Datum::Gcj02, shown.lon, shown.lat);
        assert!(geodesic_m(p(lon, lat), back) < 0.01, "{name}");
    }
}

#[test]
fn wgs84_is_left_alone() {
    assert_eq!(to_wgs84(Datum::Wgs84, 114.1, 22.6), p(114.1, 22.6));
}

#[test]
fn headings() {
    let cases = [
        ((104.0, 30.0), (104.0, 30.1), 0.0),
        ((104.0, 30.0), (104.1, 30.0), 90.0),
        ((104.0, 30.0), (104.0, 29.9), 180.0),
        ((104.0, 30.0), (103.9, 30.0), 270.0),
        ((104.0, 30.0), (104.0, 30.0), 0.0),
    ];
    for (a, b, expected) in cases {
        let found = heading_deg(p(a.0, a.1), p(b.0, b.1));
        assert!(heading_difference_deg(found, expected) < 0.05, "{a:?} {b:?}: {found}");
        assert!((0.0..360.0).contains(&found));
    }
    for (a, b, expected) in [(350.0, 10.0, 20.0), (10.0, 350.0, 20.0), (0.0, 180.0, 180.0), (90.0, 90.0, 0.0)] {
        assert_eq!(heading_difference_deg(a, b), expected);
    }
}

proptest! {
    /// Over China's latitudes and up to 5 km, a thousandth of the geodesic; in truth a third of that.
    #[test]
    fn local_metres_are_those_of_the_geodesic(lon in 74.0..134.0f64, lat in 18.0..54.0f64, east in -5000.0..5000.0f64, north in -5000.0..5000.0f64) {
        let frame = LocalFrame::at(p(lon, lat));
        let there = frame.to_point(east, north);
        let true_m = geodesic_m(p(lon, lat), there);
        prop_assert!((east.hypot(north) - true_m).abs() <= true_m * 1e-3 + 1e-3, "{} against {true_m}", east.hypot(north));
        let (x, y) = frame.to_m(there);
        prop_assert!((x - east).abs() < 1e-6 && (y - north).abs() < 1e-6);
    }

    #[test]
    fn distances_are_those_of_the_geodesic(a in (74.0..134.0f64, 18.0..54.0f64), d in (-3.0..3.0f64, -3.0..3.0f64)) {
        let (a, b) = (p(a.0, a.1), p(a.0 + d.0, a.1 + d.1));
        let (found, true_m) = (distance_m(a, b), geodesic_m(a, b));
        let tolerance = if true_m < 400_000.0 { 1e-3 } else { 6e-3 };
        prop_assert!((found - true_m).abs() <= true_m * tolerance + 1e-3, "{found} against {true_m}");
    }

    /// The boxes over the runs of a line, and over those, never hide the nearest segment.
    #[test]
    fn the_nearest_spot_is_that_of_looking_at_every_segment(
        steps in prop::collection::vec((-0.002..0.002f64, -0.002..0.002f64), 1..700),
        q in (-0.02..0.02f64, -0.02..0.02f64),
    ) {
        let mut points = vec![p(104.0, 30.6)];
        for (dx, dy) in steps {
            let last = points[points.len() - 1];
            points.push(p(last.lon + dx, last.lat + dy));
        }
        let (line, asked) = (Polyline::new(&points).unwrap(), p(104.0 + q.0, 30.6 + q.1));
        let apart = |pair: &[Point]| Polyline::new(pair).unwrap().distance_m(asked);
        let least = points.windows(2).map(apart).fold(f64::INFINITY, f64::min);
        let nearest = line.nearest(asked);
        prop_assert!((nearest.distance_m - least).abs() < 1e-6);
        prop_assert!((line.distance_m(asked) - least).abs() < 1e-6);
        prop_assert!(line.nearer_than_m(least - 1e-3, asked).is_none());
        prop_assert!((line.nearer_than_m(least + 1e-3, asked).unwrap() - least).abs() < 1e-6);
        prop_assert!((distance_m(nearest.point, asked) - least).abs() < 0.01 + least * 1e-3);
        prop_assert!(distance_m(line.point_at(nearest.along_m), nearest.point) < 0.01);
        prop_assert!((0.0..=line.length_m() + 1e-6).contains(&nearest.along_m));
    }

    /// The grid hides no segment and tells none twice: long ones, short ones, along the edges of cells, within any radius.
    #[test]
    fn lines_near_a_point_are_those_of_looking_at_every_segment(
        ends in prop::collection::vec((-80i32..80, -80i32..80, -80i32..80, -80i32..80), 1..60),
        queries in prop::collection::vec((-0.05..0.05f64, -0.05..0.05f64), 8),
        radius in prop::sample::select(vec![0.0, 30.0, 400.0, 20_000.0]),
    ) {
        // Corners fall on the edges of cells as often as not.
        let at = |x: i32, y: i32| p(f64::from(x) * 0.000_625, f64::from(y) * 0.000_625);
        let lines: Vec<Vec<Vec<Point>>> =
            ends.iter().map(|(x, y, x2, y2)| vec![vec![at(*x, *y), at(*x2, *y2)]]).collect();
        let index = LineIndex::new(lines.iter().map(Vec::as_slice));
        let corners = ends.iter().take(4).map(|(x, y, ..)| at(*x, *y));
        for asked in queries.iter().map(|(x, y)| p(*x, *y)).chain(corners) {
            let mut found = Vec::new();
            index.near(asked, radius, |hit| found.push(hit.line));
            found.sort_unstable();
            let frame = LocalFrame::at(asked);
            let reaches = |line: &[Vec<Point>]| {
                let segment = segments::Segment { a: line[0][0], b: line[0][1] };
                segment.nearest(&frame).0 <= radius * radius
            };
            let near: Vec<usize> = (0..lines.len()).filter(|line| reaches(&lines[*line])).collect();
            prop_assert_eq!(found, near);
        }
    }

    /// A star with a hole: in and out as another implementation has it, whatever the rows.
    #[test]
    fn areas_contain_what_they_contain(
        radii in prop::collection::vec(0.002..0.01f64, 3..90),
        queries in prop::collection::vec((-0.011..0.011f64, -0.011..0.011f64), 20),
    ) {
        let ring = |scale: f64| -> Vec<Point> {
            let n = radii.len() as f64;
            let corner = |(i, r): (usize, &f64)| {
                let angle = i as f64 / n * std::f64::consts::TAU;
                p(104.0 + scale * r * angle.cos(), 30.6 + scale * r * angle.sin())
            };
            let mut ring: Vec<Point> = radii.iter().enumerate().map(corner).collect();
            ring.push(ring[0]);
            ring
        };
        let rings = vec![ring(1.0), ring(0.4)];
        let area = Area::new(std::slice::from_ref(&rings)).unwrap();
        let line = |ring: &Vec<Point>| LineString::from_iter(ring.iter().map(|p| (p.lon, p.lat)));
        let other = Polygon::new(line(&rings[0]), vec![line(&rings[1])]);
        let mut last = p(104.0, 30.6);
        for (x, y) in queries {
            let q = p(104.0 + x, 30.6 + y);
            prop_assert_eq!(area.contains(q), other.contains(&geo::Point::new(q.lon, q.lat)));
            prop_assert_eq!(area.signed_distance_m(q) < 0.0, area.contains(q));
            let way = geo::Line::new((last.lon, last.lat), (q.lon, q.lat));
            prop_assert_eq!(area.is_crossed_by(last, q), other.intersects(&way));
            last = q;
        }
    }
}

#[test]
fn distance_is_to_the_line_not_to_its_corners() {
    // 1.2 km straight; the spot half way is 600 m from either corner.
    let line = Polyline::new(&[p(104.0, 30.6), p(104.012_52, 30.6)]).unwrap();
    let nearest = line.nearest(p(104.006_26, 30.600_09));
    assert!((nearest.distance_m - 10.0).abs() < 0.1, "{nearest:?}");
    assert!((nearest.along_m - 600.0).abs() < 1.0, "{nearest:?}");
    assert!(heading_difference_deg(nearest.heading_deg, 90.0) < 0.01);
    assert!((line.length_m() - 1200.0).abs() < 1.0);
}

#[test]
fn progress_runs_through_the_parts_and_skips_the_gaps() {
    let line =
        Polyline::from_parts(&[vec![p(104.0, 30.0), p(104.01, 30.0)], vec![p(104.02, 30.0), p(104.03, 30.0)]]).unwrap();
    let piece = distance_m(p(104.0, 30.0), p(104.01, 30.0));
    assert!((line.length_m() - 2.0 * piece).abs() < 1e-6);
    assert!((line.nearest(p(104.025, 30.0)).along_m - 1.5 * piece).abs() < 1e-3);
    // In the gap, the nearer part's end counts.
    let gap = line.nearest(p(104.012, 30.0));
    assert!((gap.along_m - piece).abs() < 1e-3 && (gap.distance_m - 0.2 * piece).abs() < 0.1, "{gap:?}");
    assert_eq!((line.start(), line.end()), (p(104.0, 30.0), p(104.03, 30.0)));
}

#[test]
fn lines_too_short_are_none() {
    assert!(Polyline::new(&[]).is_none());
    assert!(Polyline::new(&[p(1.0, 2.0)]).is_none());
    assert!(Polyline::from_parts(&[vec![p(1.0, 2.0)], vec![p(1.0, 2.0)]]).is_none());
    // Standing still is a line of no length: still a distance.
    let dot = Polyline::new(&[p(104.0, 30.0), p(104.0, 30.0)]).unwrap();
    assert!((dot.distance_m(p(104.0, 30.001)) - 110.9).abs() < 1.0);
}

fn square(lon: f64, lat: f64, side: f64) -> Vec<Point> {
    vec![p(lon, lat), p(lon + side, lat), p(lon + side, lat + side), p(lon, lat + side), p(lon, lat)]
}

/// A 0.01 degree square with a hole of a fifth in its middle; an area of two squares; a square overlapping the first.
fn three() -> AreaIndex {
    let holed = Area::new(&[vec![square(104.0, 30.0, 0.01), square(104.004, 30.004, 0.002)]]);
    let double = Area::new(&[vec![square(104.1, 30.0, 0.01)], vec![square(104.2, 30.0, 0.01)]]);
    let over = Area::new(&[vec![square(104.005, 30.0, 0.01)]]);
    AreaIndex::new([holed, double, over].into_iter().flatten().collect())
}

fn sorted(query: impl FnOnce(&mut dyn FnMut(usize))) -> Vec<usize> {
    let mut found = Vec::new();
    query(&mut |index| found.push(index));
    found.sort_unstable();
    found
}

#[test]
fn areas_that_contain_a_point() {
    let cases: &[(f64, f64, &[usize])] = &[
        (104.001, 30.001, &[0]),
        (104.005, 30.005, &[]),
        (104.0045, 30.0045, &[]),
        (104.007, 30.002, &[0, 2]),
        (104.012, 30.005, &[2]),
        (104.105, 30.005, &[1]),
        (104.205, 30.005, &[1]),
        (104.15, 30.005, &[]),
        (-104.0, -30.0, &[]),
    ];
    let index = three();
    for (lon, lat, expected) in cases {
        let found = sorted(|found| index.containing(p(*lon, *lat), found));
        // In the hole of the first, the third begins at its middle: its edge may count as in.
        if (*lon, *lat) != (104.005, 30.005) {
            assert_eq!(found, *expected, "{lon} {lat}");
        }
    }
    assert!(sorted(|found| AreaIndex::default().containing(p(104.0, 30.0), found)).is_empty());
}

#[test]
fn areas_within_a_buffer() {
    let index = three();
    // 0.001 degrees east are 96.5 m here, north 110.9 m.
    let cases: &[(f64, f64, f64, &[usize])] = &[
        (104.0, 29.9996, 50.0, &[0]),
        (104.0, 29.9996, 40.0, &[]),
        (104.001, 30.001, -90.0, &[0]),
        (104.001, 30.001, -100.0, &[]),
        (104.0052, 30.005, 150.0, &[0, 2]),
        (104.2105, 30.005, 60.0, &[1]),
        (104.15, 30.005, 10_000.0, &[1]),
        (104.007, 30.002, 0.0, &[0, 2]),
    ];
    for (lon, lat, buffer, expected) in cases {
        let found = sorted(|found| index.within_m(p(*lon, *lat), *buffer, |index, _| found(index)));
        assert_eq!(found, *expected, "{lon} {lat} {buffer}");
    }
    // The hole is a boundary too: in its middle one is 96.5 m outside.
    assert!((index.area(0).signed_distance_m(p(104.005, 30.005)) - 96.5).abs() < 1.0);
    assert!((index.area(0).signed_distance_m(p(104.001, 30.005)) + 96.5).abs() < 1.0);
}

#[test]
fn areas_that_a_way_touches() {
    /// From, to, the areas touched.
    type Way = ((f64, f64), (f64, f64), &'static [usize]);
    let index = three();
    let cases: &[Way] = &[
        // Over a corner between two fixes that are both outside.
        ((103.999, 30.002), (104.002, 29.999), &[0]),
        ((103.999, 30.0005), (103.9995, 30.0), &[]),
        ((104.09, 30.005), (104.22, 30.005), &[1]),
        ((104.001, 30.001), (104.002, 30.001), &[0]),
        // Within the hole.
        ((104.0042, 30.005), (104.0048, 30.005), &[]),
        ((104.0, 30.02), (104.3, 30.02), &[]),
        ((104.105, 30.005), (104.105, 30.005), &[1]),
    ];
    for (a, b, expected) in cases {
        for (a, b) in [(a, b), (b, a)] {
            let found = sorted(|found| index.crossed_by(p(a.0, a.1), p(b.0, b.1), found));
            assert_eq!(found, *expected, "{a:?} {b:?}");
        }
    }
}

/// Parts that overlap are reported once and have one inside.
#[test]
fn an_area_is_found_once() {
    let area = Area::new(&[vec![square(104.0, 30.0, 0.01)], vec![square(104.005, 30.005, 0.01)]]);
    let index = AreaIndex::new(area.into_iter().collect());
    let q = p(104.007, 30.007);
    assert_eq!(sorted(|found| index.containing(q, found)), [0]);
    assert_eq!(sorted(|found| index.within_m(q, 500.0, |i, _| found(i))), [0]);
    assert_eq!(sorted(|found| index.crossed_by(p(104.0, 30.007), p(104.02, 30.007), found)), [0]);
    assert!(index.area(0).contains(q));
}

#[test]
fn areas_without_a_ring_are_none() {
    assert!(Area::new(&[]).is_none());
    assert!(Area::new(&[vec![]]).is_none());
    assert!(Area::new(&[vec![vec![p(1.0, 1.0), p(2.0, 2.0)]]]).is_none());
    // An open ring is closed.
    let open = Area::new(&[vec![vec![p(104.0, 30.0), p(104.01, 30.0), p(104.0, 30.01)]]]).unwrap();
    assert!(open.contains(p(104.002, 30.002)) && !open.contains(p(104.008, 30.008)));
    // One without height contains nothing and does not panic.
    let flat = Area::new(&[vec![vec![p(104.0, 30.0), p(104.01, 30.0), p(104.0, 30.0)]]]).unwrap();
    assert!(!flat.contains(p(104.005, 30.0)));
}

#[test]
fn lines_near_a_point() {
    let first = vec![vec![p(104.0, 30.0), p(104.01, 30.0), p(104.01, 30.01)]];
    let second = vec![vec![p(104.02, 30.0), p(104.0, 30.0003)]];
    let index = LineIndex::new([first.as_slice(), second.as_slice()]);
    assert_eq!(index.segments(), 3);
    let near = |lon, lat, radius| {
        let mut hits = Vec::new();
        index.near(p(lon, lat), radius, |hit| hits.push(hit));
        hits.sort_by_key(|hit| (hit.line, hit.segment));
        hits
    };
    let hits = near(104.005, 30.0001, 30.0);
    assert_eq!(hits.iter().map(|hit| (hit.line, hit.segment)).collect::<Vec<_>>(), [(0, 0), (1, 0)]);
    assert!((hits[0].distance_m - 11.09).abs() < 0.1 && (hits[1].distance_m - 13.86).abs() < 0.1, "{hits:?}");
    assert!(heading_difference_deg(hits[0].heading_deg, 90.0) < 0.1);
    assert!(heading_difference_deg(hits[1].heading_deg, 270.0) < 2.0);
    assert!((hits[0].point.lon - 104.005).abs() < 1e-9 && (hits[0].point.lat - 30.0).abs() < 1e-9);
    assert_eq!(near(104.005, 30.0001, 5.0), []);
    assert_eq!(near(104.0099, 30.005, 20.0).iter().map(|hit| hit.segment).collect::<Vec<_>>(), [1]);
    assert!(near(0.0, 0.0, 30.0).is_empty());
}

#[test]
fn points_off_the_globe_are_told() {
    for (lon, lat, on) in [
        (180.0, 90.0, true),
        (-180.0, -90.0, true),
        (180.1, 0.0, false),
        (0.0, 90.1, false),
        (f64::NAN, 0.0, false),
        (0.0, f64::INFINITY, false),
    ] {
        assert_eq!(p(lon, lat).is_on_globe(), on, "{lon} {lat}");
    }
}

#[test]
fn ways_lead_through_ends_that_meet() {
    let frame = LocalFrame::at(Point::new(114.0, 22.6));
    let line = |points: &[(f64, f64)]| vec![points.iter().map(|(x, y)| frame.to_point(*x, *y)).collect::<Vec<_>>()];
    // A corner whose ends are 2 cm apart, a road that crosses the first without a node, and one that is one-way.
    let lines = [
        line(&[(0., 0.), (100., 0.)]),
        line(&[(100., 0.02), (100., 100.)]),
        line(&[(50., -50.), (50., 50.)]),
        line(&[(100., 100.), (0., 100.)]),
    ];
    let index = LineIndex::new(lines.iter().map(Vec::as_slice));
    let network = Network::new(&index, |line| line == 3);
    let reach = |limit_m: f64, nodes: usize| Reach { limit_m, turn_m: 0.0, nodes };
    let mut walk = Walk::default();
    for (from, to, reach, expected) in [
        ((0, 10.), (0, 90.), reach(500., 100), 80.),
        ((0, 90.), (0, 10.), reach(500., 100), 80.),
        ((0, 10.), (1, 30.), reach(500., 100), 120.),
        ((1, 30.), (0, 10.), reach(500., 100), 120.),
        ((0, 10.), (3, 40.), reach(500., 100), 230.),
        ((3, 40.), (0, 10.), reach(500., 100), f64::INFINITY),
        ((3, 40.), (3, 10.), reach(500., 100), -30.),
        ((0, 10.), (2, 50.), reach(500., 100), f64::INFINITY),
        ((0, 10.), (3, 40.), reach(150., 100), f64::INFINITY),
        ((0, 10.), (3, 40.), reach(500., 1), f64::INFINITY),
    ] {
        let spot = |(line, along_m)| Spot { segment: network.segment(line, 0).unwrap(), along_m };
        let mut ways = Vec::new();
        walk.measure(&network, spot(from), &[spot(to)], reach, |_| true, &mut ways);
        let near = (ways[0] - expected).abs() < 0.5 || ways[0] == expected;
        assert!(near, "{from:?} to {to:?}: {} instead of {expected}", ways[0]);
    }
    // Where a piece is closed, no way leads over it; a search that may visit no more nodes says that it gave up.
    let spot = |line, along_m| Spot { segment: network.segment(line, 0).unwrap(), along_m };
    let is_closed = |piece: Piece| network.line(piece.segment) == 1 && piece.from_m.max(piece.to_m) > 20.0;
    let mut ways = Vec::new();
    walk.measure(
        &network,
        spot(0, 10.),
        &[spot(1, 15.), spot(1, 30.)],
        reach(500., 100),
        |piece| !is_closed(piece),
        &mut ways,
    );
    assert!((ways[0] - 105.0).abs() < 0.5 && ways[1].is_infinite() && !walk.gave_up(reach(500., 100)), "{ways:?}");
    walk.measure(&network, spot(0, 10.), &[spot(3, 40.)], reach(500., 1), |_| true, &mut ways);
    assert!(walk.gave_up(reach(500., 1)));
    let middle = network.point(spot(0, 50.));
    let is_half = |end: Point| (distance_m(middle, end) - 50.0).abs() < 0.1;
    assert!(lines[0][0].iter().all(|end| is_half(*end)));
    assert_eq!(network.segment(0, 1), None);
    assert_eq!(network.segment(4, 0), None);
}
