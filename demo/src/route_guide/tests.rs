use futures_util::stream;
use proto::routeguide::route_guide_client::RouteGuideClient;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;

fn point(latitude: i32, longitude: i32) -> Point {
    Point { latitude, longitude }
}

fn note(place: i32, message: &str) -> RouteNote {
    RouteNote {
        location: Some(point(place, place)),
        message: message.to_owned(),
    }
}

async fn connect(backend: &Backend) -> Channel {
    let uri = format!("http://{}", backend.address());
    Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
}

async fn guide(name: &str) -> (Backend, RouteGuideClient<Channel>) {
    let backend = Backend::start(name).await.unwrap();
    let client = RouteGuideClient::new(connect(&backend).await);
    (backend, client)
}

#[test]
fn the_data_set_has_a_hundred_and_one_different_features() {
    let names: std::collections::HashSet<_> = features::all().iter().map(|(name, _)| name).collect();
    assert_eq!((features::all().len(), names.len()), (101, 101));
    for (name, point) in features::all() {
        assert_eq!(features::at(*point), Some(name.as_str()));
    }
}

#[test]
fn distances_agree_with_published_ones() {
    // One degree of latitude on a sphere of 6,371 km is 111.195 km.
    let degree = features::distance(point(0, 0), point(10_000_000, 0));
    assert!((degree - 111_195.0).abs() < 1.0, "{degree}");
    // Paris to New York: 5,837 km by the great circle.
    let paris = point(488_566_000, 23_522_000);
    let flight = features::distance(paris, point(407_128_000, -740_060_000));
    assert!((flight - 5_837_000.0).abs() < 5_000.0, "{flight}");
    let antipodes = features::distance(point(0, 0), point(0, 1_800_000_000));
    assert!((antipodes - 20_015_087.0).abs() < 1.0, "{antipodes}");
}

#[tokio::test]
async fn get_feature_tells_the_name_or_none_and_who_served() {
    let (_backend, mut client) = guide("north").await;
    let known = client
        .get_feature(point(409_146_138, -746_188_906))
        .await
        .unwrap();
    assert_eq!(known.metadata().get(SERVED_BY).unwrap(), "north");
    assert_eq!(known.get_ref().name, "Berkshire Valley");

    let nothing = client.get_feature(point(0, 0)).await.unwrap().into_inner();
    assert_eq!(
        nothing,
        Feature {
            name: String::new(),
            location: Some(point(0, 0))
        }
    );
}

#[tokio::test]
async fn a_place_beyond_the_poles_is_refused_with_the_backends_name() {
    let (_backend, mut client) = guide("north").await;
    for place in [point(900_000_001, 0), point(0, i32::MIN)] {
        let refused = client.get_feature(place).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.metadata().get(SERVED_BY).unwrap(), "north");
    }
}

#[tokio::test]
async fn list_features_includes_the_border_and_takes_corners_in_any_order() {
    let (_backend, mut client) = guide("north").await;
    // Two rows and three columns of the grid; the well-known place lies outside.
    let corners = (point(400_000_000, -750_000_000), point(402_000_000, -746_000_000));
    for (lo, hi) in [corners, (corners.1, corners.0)] {
        let rectangle = Rectangle {
            lo: Some(lo),
            hi: Some(hi),
        };
        let mut listed = client.list_features(rectangle).await.unwrap().into_inner();
        let mut names = Vec::new();
        while let Some(feature) = listed.message().await.unwrap() {
            names.push(feature.name);
        }
        let expected = [
            "Amber Bridge",
            "Amber Crossing",
            "Amber Farm",
            "Birch Bridge",
            "Birch Crossing",
            "Birch Farm",
        ];
        assert_eq!(names, expected);
    }
    let half = Rectangle {
        lo: Some(corners.0),
        hi: None,
    };
    assert_eq!(
        client.list_features(half).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn record_route_counts_points_features_and_metres() {
    let (_backend, mut client) = guide("north").await;
    let way = [
        point(400_000_000, -750_000_000),
        point(401_000_000, -750_000_000),
        point(402_000_000, -750_000_000),
    ];
    let summary = client.record_route(stream::iter(way)).await.unwrap().into_inner();
    assert_eq!((summary.point_count, summary.feature_count), (3, 2));
    // Two tenths of a degree of latitude.
    assert!(
        (22_230..=22_240).contains(&summary.distance),
        "{}",
        summary.distance
    );

    let nobody = client.record_route(stream::iter([])).await.unwrap().into_inner();
    assert_eq!(nobody, RouteSummary::default());
}

#[tokio::test]
async fn route_chat_answers_with_the_earlier_notes_of_the_place() {
    let (_backend, mut client) = guide("north").await;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut answers = client.route_chat(said).await.unwrap().into_inner();
    for note in [note(1, "a"), note(2, "b"), note(1, "c")] {
        say.send(note).await.unwrap();
    }
    // Answered while the client is still talking: both directions are open at once.
    assert_eq!(answers.message().await.unwrap(), Some(note(1, "a")));
    say.send(note(1, "d")).await.unwrap();
    assert_eq!(answers.message().await.unwrap(), Some(note(1, "a")));
    assert_eq!(answers.message().await.unwrap(), Some(note(1, "c")));
    drop(say);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_chat_forgets_its_oldest_note_at_the_bound() {
    let (_backend, mut client) = guide("north").await;
    let old = std::iter::once(note(-1, "oldest"));
    let filling = (0..MAX_NOTES as i32).map(|place| note(place, "x"));
    let again = [note(-1, "gone"), note(MAX_NOTES as i32 - 1, "kept")];
    let notes: Vec<_> = old.chain(filling).chain(again).collect();
    let mut answers = client.route_chat(stream::iter(notes)).await.unwrap().into_inner();
    assert_eq!(
        answers.message().await.unwrap(),
        Some(note(MAX_NOTES as i32 - 1, "x"))
    );
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn health_says_serving_and_reflection_lists_the_service() {
    let backend = Backend::start("north").await.unwrap();
    let channel = connect(&backend).await;
    let request = HealthCheckRequest {
        service: "routeguide.RouteGuide".to_owned(),
    };
    let health = HealthClient::new(channel.clone())
        .check(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&"routeguide.RouteGuide"), "{names:?}");
    assert!(
        !names.contains(&"h2gate.certs.v1.CertificateService"),
        "{names:?}"
    );
}

#[tokio::test]
async fn stop_lets_an_open_chat_finish_and_then_frees_the_port() {
    let (backend, mut client) = guide("north").await;
    let address = backend.address();
    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut answers = client.route_chat(said).await.unwrap().into_inner();
    let stopping = tokio::spawn(backend.stop());
    say.send(note(1, "a")).await.unwrap();
    say.send(note(1, "b")).await.unwrap();
    assert_eq!(answers.message().await.unwrap(), Some(note(1, "a")));
    drop(say);
    assert_eq!(answers.message().await.unwrap(), None);
    stopping.await.unwrap();
    Backend::start_at("south", address).await.unwrap();
}

#[tokio::test]
async fn a_name_that_cannot_be_metadata_is_refused() {
    assert!(Backend::start("north\nsouth").await.is_err());
}
