use prost::Message as _;

use crate::routeguide::{Feature, Point, RouteSummary};

/// The numbers of fields are what makes us compatible; these bytes were written by hand from
/// the encoding rules, not by our own encoder.
#[test]
fn messages_have_the_well_known_wire_form() {
    let feature = Feature {
        name: "Y".to_owned(),
        location: Some(Point {
            latitude: 1,
            longitude: -1,
        }),
    };
    let minus_one = [0xff; 9].into_iter().chain([0x01]);
    let expected: Vec<u8> = [0x0a, 0x01, b'Y', 0x12, 0x0d, 0x08, 0x01, 0x10]
        .into_iter()
        .chain(minus_one)
        .collect();
    assert_eq!(feature.encode_to_vec(), expected);

    let summary = RouteSummary {
        point_count: 1,
        feature_count: 2,
        distance: 3,
        elapsed_time: 4,
    };
    assert_eq!(summary.encode_to_vec(), [0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4]);
}

#[test]
fn descriptors_name_the_four_kinds_of_rpc() {
    let set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    let file = set.file.iter().find(|f| f.package() == "routeguide").unwrap();
    let service = file.service.iter().find(|s| s.name() == "RouteGuide").unwrap();
    let kinds: Vec<_> = service
        .method
        .iter()
        .map(|m| (m.name(), m.client_streaming(), m.server_streaming()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("GetFeature", false, false),
            ("ListFeatures", false, true),
            ("RecordRoute", true, false),
            ("RouteChat", true, true),
        ]
    );
}
