// The Node client (@grpc/grpc-js): see ../README.md for what it asks and what it answers.
"use strict";

const fs = require("fs");
const path = require("path");
const { isDeepStrictEqual } = require("util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const NOWHERE = { latitude: 11, longitude: 13 };
const WORLD = {
  lo: { latitude: -900000000, longitude: -1800000000 },
  hi: { latitude: 900000000, longitude: 1800000000 },
};

const deadline = () => ({ deadline: Date.now() + 10_000 });

function same(what, got, want) {
  if (!isDeepStrictEqual(got, want)) {
    throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}

/** Length of the great circle between two points, on a sphere of 6,371 km. */
function metres(a, b) {
  const rad = (e7) => ((e7 / 1e7) * Math.PI) / 180;
  const half = (x) => Math.sin(x / 2) ** 2;
  const h =
    half(rad(b.latitude - a.latitude)) +
    Math.cos(rad(a.latitude)) * Math.cos(rad(b.latitude)) * half(rad(b.longitude - a.longitude));
  return 6371000 * 2 * Math.atan2(Math.sqrt(h), Math.sqrt(1 - h));
}

function connect(address, caFile) {
  const definition = protoLoader.loadSync("routeguide/route_guide.proto", {
    includeDirs: [process.env.H2GATE_PROTOS],
    keepCase: true,
    defaults: true,
  });
  const { RouteGuide } = grpc.loadPackageDefinition(definition).routeguide;
  const credentials = grpc.credentials.createSsl(fs.readFileSync(caFile));
  return new RouteGuide(address, credentials, { "grpc.enable_http_proxy": 0 });
}

const unary = (guide, method, request) =>
  new Promise((resolve, reject) =>
    guide[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)))
  );

async function collect(stream) {
  const all = [];
  for await (const message of stream) all.push(message);
  return all;
}

async function listFeatures(guide) {
  const features = await collect(guide.ListFeatures(WORLD, deadline()));
  if (features.length < 2) throw new Error(`ListFeatures: ${features.length} features, want two at least`);
  same("features without a name", features.filter((f) => !f.name), []);
  const { location } = features[0];
  const one = await collect(guide.ListFeatures({ lo: location, hi: location }, deadline()));
  same("ListFeatures of one point", one, [features[0]]);
  return features;
}

async function getFeature(guide, first) {
  same("GetFeature", await unary(guide, "GetFeature", first.location), first);
  same("GetFeature nowhere", (await unary(guide, "GetFeature", NOWHERE)).name, "");
}

async function recordRoute(guide, first, second) {
  const way = [first.location, second.location, NOWHERE];
  const summary = await new Promise((resolve, reject) => {
    const call = guide.RecordRoute(deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
    way.forEach((point) => call.write(point));
    call.end();
  });
  same("RecordRoute points", summary.point_count, 3);
  same("RecordRoute features", summary.feature_count, 2);
  const want = metres(way[0], way[1]) + metres(way[1], way[2]);
  if (Math.abs(summary.distance - want) > 2) {
    throw new Error(`RecordRoute distance: got ${summary.distance}, want ${Math.round(want)}`);
  }
}

async function routeChat(guide) {
  const here = {
    latitude: 1 + Math.floor(Math.random() * 899999999),
    longitude: 1 + Math.floor(Math.random() * 1799999999),
  };
  const there = { ...here, latitude: -here.latitude };
  const notes = [here, there, here, here].map((location, i) => ({ location, message: `note ${i}` }));
  const call = guide.RouteChat(deadline());
  const answers = [];
  notes.slice(0, 3).forEach((note) => call.write(note));
  for await (const answer of call) {
    answers.push(answer);
    // Only a stream that is open both ways can answer before the client has ended.
    if (answers.length === 1) {
      call.write(notes[3]);
      call.end();
    }
  }
  same("RouteChat", answers, [notes[0], notes[0], notes[2]]);
}

async function main() {
  const [address, caFile] = process.argv.slice(2);
  const { version } = JSON.parse(
    fs.readFileSync(path.join(path.dirname(require.resolve("@grpc/grpc-js")), "../../package.json"))
  );
  const summary = { client: "node", library: `@grpc/grpc-js ${version}`, ok: true };
  try {
    const guide = connect(address, caFile);
    const features = await listFeatures(guide);
    await getFeature(guide, features[0]);
    await recordRoute(guide, features[0], features[1]);
    await routeChat(guide);
    summary.features = features.length;
    guide.close();
  } catch (error) {
    summary.ok = false;
    summary.error = String(error);
  }
  console.log(JSON.stringify(summary));
  process.exitCode = summary.ok ? 0 : 1;
}

main();
