// The Go client (grpc-go): see ../README.md for what it asks and what it answers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	pb "h2gate.test/client/routeguide"
)

var (
	nowhere = &pb.Point{Latitude: 11, Longitude: 13}
	world   = &pb.Rectangle{
		Lo: &pb.Point{Latitude: -900000000, Longitude: -1800000000},
		Hi: &pb.Point{Latitude: 900000000, Longitude: 1800000000},
	}
)

type summary struct {
	Client   string `json:"client"`
	Library  string `json:"library"`
	OK       bool   `json:"ok"`
	Features int    `json:"features,omitempty"`
	Error    string `json:"error,omitempty"`
}

func main() {
	said := summary{Client: "go", Library: "grpc-go " + grpc.Version}
	features, err := run(os.Args[1], os.Args[2])
	said.OK, said.Features = err == nil, features
	if err != nil {
		said.Error = err.Error()
	}
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
	if err != nil {
		os.Exit(1)
	}
}

func run(address, caFile string) (int, error) {
	tls, err := credentials.NewClientTLSFromFile(caFile, "")
	if err != nil {
		return 0, err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(tls), grpc.WithNoProxy())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	guide := pb.NewRouteGuideClient(conn)
	features, err := listFeatures(guide)
	if err != nil {
		return 0, fmt.Errorf("ListFeatures: %w", err)
	}
	if err := getFeature(guide, features[0]); err != nil {
		return 0, fmt.Errorf("GetFeature: %w", err)
	}
	if err := recordRoute(guide, features[0], features[1]); err != nil {
		return 0, fmt.Errorf("RecordRoute: %w", err)
	}
	if err := routeChat(guide); err != nil {
		return 0, fmt.Errorf("RouteChat: %w", err)
	}
	return len(features), nil
}

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

func list(guide pb.RouteGuideClient, area *pb.Rectangle) ([]*pb.Feature, error) {
	ctx, cancel := deadline()
	defer cancel()
	stream, err := guide.ListFeatures(ctx, area)
	if err != nil {
		return nil, err
	}
	var all []*pb.Feature
	for {
		feature, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, feature)
	}
}

func listFeatures(guide pb.RouteGuideClient) ([]*pb.Feature, error) {
	features, err := list(guide, world)
	if err != nil {
		return nil, err
	}
	if len(features) < 2 {
		return nil, fmt.Errorf("%d features, want two at least", len(features))
	}
	for _, feature := range features {
		if feature.Name == "" {
			return nil, fmt.Errorf("a feature without a name at %v", feature.Location)
		}
	}
	here := features[0].Location
	one, err := list(guide, &pb.Rectangle{Lo: here, Hi: here})
	if err != nil {
		return nil, err
	}
	if len(one) != 1 || !proto.Equal(one[0], features[0]) {
		return nil, fmt.Errorf("of one point: got %v, want %v", one, features[0])
	}
	return features, nil
}

func getFeature(guide pb.RouteGuideClient, first *pb.Feature) error {
	ctx, cancel := deadline()
	defer cancel()
	got, err := guide.GetFeature(ctx, first.Location)
	if err != nil {
		return err
	}
	if !proto.Equal(got, first) {
		return fmt.Errorf("got %v, want %v", got, first)
	}
	nothing, err := guide.GetFeature(ctx, nowhere)
	if err != nil {
		return err
	}
	if nothing.Name != "" {
		return fmt.Errorf("nowhere stands %q", nothing.Name)
	}
	return nil
}

func recordRoute(guide pb.RouteGuideClient, first, second *pb.Feature) error {
	ctx, cancel := deadline()
	defer cancel()
	stream, err := guide.RecordRoute(ctx)
	if err != nil {
		return err
	}
	way := []*pb.Point{first.Location, second.Location, nowhere}
	for _, point := range way {
		if err := stream.Send(point); err != nil {
			return err
		}
	}
	got, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	want := metres(way[0], way[1]) + metres(way[1], way[2])
	if got.PointCount != 3 || got.FeatureCount != 2 || math.Abs(float64(got.Distance)-want) > 2 {
		return fmt.Errorf("got %v, want 3 points, 2 features, %.0f m", got, want)
	}
	return nil
}

func routeChat(guide pb.RouteGuideClient) error {
	ctx, cancel := deadline()
	defer cancel()
	stream, err := guide.RouteChat(ctx)
	if err != nil {
		return err
	}
	here := &pb.Point{Latitude: 1 + rand.Int32N(899999999), Longitude: 1 + rand.Int32N(1799999999)}
	there := &pb.Point{Latitude: -here.Latitude, Longitude: here.Longitude}
	var notes []*pb.RouteNote
	for i, place := range []*pb.Point{here, there, here, here} {
		notes = append(notes, &pb.RouteNote{Location: place, Message: fmt.Sprintf("note %d", i)})
	}
	for _, note := range notes[:3] {
		if err := stream.Send(note); err != nil {
			return err
		}
	}
	// Only a stream that is open both ways can answer before the client has ended.
	if err := answer(stream, notes[0]); err != nil {
		return err
	}
	if err := stream.Send(notes[3]); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for _, want := range []*pb.RouteNote{notes[0], notes[2]} {
		if err := answer(stream, want); err != nil {
			return err
		}
	}
	if extra, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last answer: %v, %v", extra, err)
	}
	return nil
}

func answer(stream grpc.BidiStreamingClient[pb.RouteNote, pb.RouteNote], want *pb.RouteNote) error {
	got, err := stream.Recv()
	if err != nil {
		return err
	}
	if !proto.Equal(got, want) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// Length of the great circle between two points, on a sphere of 6,371 km.
func metres(a, b *pb.Point) float64 {
	rad := func(e7 int32) float64 { return float64(e7) / 1e7 * math.Pi / 180 }
	half := func(x float64) float64 { return math.Sin(x/2) * math.Sin(x/2) }
	lat1, lat2 := rad(a.Latitude), rad(b.Latitude)
	h := half(lat2-lat1) + math.Cos(lat1)*math.Cos(lat2)*half(rad(b.Longitude)-rad(a.Longitude))
	return 6371000 * 2 * math.Atan2(math.Sqrt(h), math.Sqrt(1-h))
}
