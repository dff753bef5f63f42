package h2gate;

import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import routeguide.RouteGuideGrpc;
import routeguide.RouteGuideOuterClass.Feature;
import routeguide.RouteGuideOuterClass.Point;
import routeguide.RouteGuideOuterClass.Rectangle;
import routeguide.RouteGuideOuterClass.RouteNote;
import routeguide.RouteGuideOuterClass.RouteSummary;

/** The Java client (grpc-java): see ../README.md for what it asks and what it answers. */
public final class Client {
  private static final Point NOWHERE = point(11, 13);
  private static final Rectangle WORLD =
      Rectangle.newBuilder()
          .setLo(point(-900000000, -1800000000))
          .setHi(point(900000000, 1800000000))
          .build();

  private final ManagedChannel channel;

  private Client(ManagedChannel channel) {
    this.channel = channel;
  }

  public static void main(String[] args) {
    String outcome;
    boolean ok = false;
    try {
      outcome = "\"features\":" + run(args[0], args[1]);
      ok = true;
    } catch (Throwable error) {
      outcome = "\"error\":\"" + error.toString().replaceAll("[^ -~]|[\"\\\\]", " ") + "\"";
    }
    String library = "grpc-java " + io.grpc.internal.GrpcUtil.getGrpcBuildVersion().getImplementationVersion();
    System.out.printf("{\"client\":\"java\",\"library\":\"%s\",\"ok\":%b,%s}%n", library, ok, outcome);
    System.exit(ok ? 0 : 1);
  }

  private static int run(String address, String caFile) throws Exception {
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(address)
            .sslContext(GrpcSslContexts.forClient().trustManager(new File(caFile)).build())
            .proxyDetector(target -> null)
            .build();
    try {
      Client client = new Client(channel);
      List<Feature> features = client.listFeatures();
      client.getFeature(features.get(0));
      client.recordRoute(features.get(0), features.get(1));
      client.routeChat();
      return features.size();
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private List<Feature> listFeatures() {
    List<Feature> features = collect(blocking().listFeatures(WORLD));
    if (features.size() < 2) {
      throw new AssertionError("ListFeatures: " + features.size() + " features, want two at least");
    }
    features.forEach(feature -> same("a feature's name is empty", feature.getName().isEmpty(), false));
    Point here = features.get(0).getLocation();
    Rectangle small = Rectangle.newBuilder().setLo(here).setHi(here).build();
    same("ListFeatures of one point", collect(blocking().listFeatures(small)), features.subList(0, 1));
    return features;
  }

  private void getFeature(Feature first) {
    same("GetFeature", blocking().getFeature(first.getLocation()), first);
    same("GetFeature nowhere", blocking().getFeature(NOWHERE).getName(), "");
  }

  private void recordRoute(Feature first, Feature second) throws Exception {
    List<Point> way = List.of(first.getLocation(), second.getLocation(), NOWHERE);
    Answers<RouteSummary> answers = new Answers<>();
    StreamObserver<Point> points = stub().recordRoute(answers);
    way.forEach(points::onNext);
    points.onCompleted();
    RouteSummary summary = answers.next();
    answers.end();
    same("RecordRoute points", summary.getPointCount(), 3);
    same("RecordRoute features", summary.getFeatureCount(), 2);
    double want = metres(way.get(0), way.get(1)) + metres(way.get(1), way.get(2));
    if (Math.abs(summary.getDistance() - want) > 2) {
      throw new AssertionError("RecordRoute distance: got " + summary.getDistance() + ", want " + want);
    }
  }

  private void routeChat() throws Exception {
    Random random = new Random();
    Point here = point(1 + random.nextInt(899999999), 1 + random.nextInt(1799999999));
    Point there = point(-here.getLatitude(), here.getLongitude());
    List<RouteNote> notes = new ArrayList<>();
    for (Point place : List.of(here, there, here, here)) {
      notes.add(RouteNote.newBuilder().setLocation(place).setMessage("note " + notes.size()).build());
    }
    Answers<RouteNote> answers = new Answers<>();
    StreamObserver<RouteNote> chat = stub().routeChat(answers);
    notes.subList(0, 3).forEach(chat::onNext);
    // Only a stream that is open both ways can answer before the client has ended.
    same("RouteChat, first answer", answers.next(), notes.get(0));
    chat.onNext(notes.get(3));
    chat.onCompleted();
    same("RouteChat, second answer", answers.next(), notes.get(0));
    same("RouteChat, third answer", answers.next(), notes.get(2));
    answers.end();
  }

  private RouteGuideGrpc.RouteGuideBlockingStub blocking() {
    return RouteGuideGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
  }

  private RouteGuideGrpc.RouteGuideStub stub() {
    return RouteGuideGrpc.newStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
  }

  private static Point point(int latitude, int longitude) {
    return Point.newBuilder().setLatitude(latitude).setLongitude(longitude).build();
  }

  private static <T> List<T> collect(Iterator<T> answers) {
    List<T> all = new ArrayList<>();
    answers.forEachRemaining(all::add);
    return all;
  }

  private static void same(String what, Object got, Object want) {
    if (!Objects.equals(got, want)) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  /** Length of the great circle between two points, on a sphere of 6,371 km. */
  private static double metres(Point a, Point b) {
    double lat1 = Math.toRadians(a.getLatitude() / 1e7);
    double lat2 = Math.toRadians(b.getLatitude() / 1e7);
    double dlon = Math.toRadians((b.getLongitude() - (double) a.getLongitude()) / 1e7);
    double h =
        Math.pow(Math.sin((lat2 - lat1) / 2), 2)
            + Math.cos(lat1) * Math.cos(lat2) * Math.pow(Math.sin(dlon / 2), 2);
    return 6371000 * 2 * Math.atan2(Math.sqrt(h), Math.sqrt(1 - h));
  }

  /** What a stream answered, one by one; a wait ends with the RPC's own deadline at the latest. */
  private static final class Answers<T> implements StreamObserver<T> {
    private static final Object END = new Object();
    private final BlockingQueue<Object> queue = new LinkedBlockingQueue<>();

    @Override
    public void onNext(T answer) {
      queue.add(answer);
    }

    @Override
    public void onError(Throwable error) {
      queue.add(error);
    }

    @Override
    public void onCompleted() {
      queue.add(END);
    }

    @SuppressWarnings("unchecked")
    T next() throws Exception {
      return (T) take();
    }

    void end() throws Exception {
      same("end of the stream", take(), END);
    }

    private Object take() throws Exception {
      Object answer = queue.poll(15, TimeUnit.SECONDS);
      if (answer == null) {
        throw new AssertionError("no answer in time");
      }
      if (answer instanceof Throwable error) {
        throw new AssertionError("instead of an answer: " + error);
      }
      return answer;
    }
  }
}
