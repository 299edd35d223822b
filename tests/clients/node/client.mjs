// Google's Node client of Cloud Monitoring, used as a program uses it that was
// written for Google's service: only the endpoint and the key are others.
//
//   node client.mjs grpc|rest|plain HOST PORT KEY
//
// "plain" is gRPC without TLS. It ends with an error at the first surprise, and
// else prints what it did.

import assert from 'node:assert/strict';
import monitoring from '@google-cloud/monitoring';
import grpc from '@grpc/grpc-js';

const [transport, host, port, key] = process.argv.slice(2);
const project = 'projects/default';
const type = 'custom.googleapis.com/store/sales';

// options are what the client is made with, call what each call is made with.
const options = {apiEndpoint: host, port: Number(port), projectId: 'default'};
let call = {};
switch (transport) {
  case 'grpc':
    options.apiKey = key;
    break;
  case 'rest':
    options.apiKey = key;
    options.fallback = true;
    break;
  case 'plain':
    options.sslCreds = grpc.credentials.createInsecure();
    call = {otherArgs: {headers: {authorization: `Bearer ${key}`}}};
    break;
  default:
    throw new Error(`no transport ${transport}`);
}
const client = new monitoring.MetricServiceClient(options);

// stamp is a time so many minutes after the start.
const start = Math.floor(Date.now() / 60_000) * 60 - 600;
const stamp = minute => ({seconds: start + 60 * minute});
const interval = {startTime: stamp(0), endTime: stamp(10)};

// fails is the error of a call that must have one.
const fails = async promise => {
  try {
    await promise;
  } catch (e) {
    return e;
  }
  throw new Error('it should have failed');
};

const [made] = await client.createMetricDescriptor({
  name: project,
  metricDescriptor: {
    type, metricKind: 'CUMULATIVE', valueType: 'INT64', unit: '{sale}', description: 'Sales.', displayName: 'Sales',
    labels: [{key: 'store', valueType: 'STRING'}],
  },
}, call);
assert.equal(made.name, `${project}/metricDescriptors/${type}`);
assert.equal(made.metricKind, 'CUMULATIVE');

for (let minute = 0; minute <= 10; minute++) {
  const timeSeries = ['north', 'south'].map((store, i) => ({
    metric: {type, labels: {store}},
    resource: {type: 'global', labels: {project_id: 'default'}},
    points: [{interval: {startTime: stamp(-1), endTime: stamp(minute)}, value: {int64Value: minute * (i + 1) * 10}}],
  }));
  await client.createTimeSeries({name: project, timeSeries}, call);
}

const request = {name: project, filter: `metric.type = "${type}" AND metric.labels.store = one_of("north", "south")`, interval};
const [full] = await client.listTimeSeries({...request, view: 'FULL'}, call);
assert.equal(full.length, 2);
assert.deepEqual(full.map(s => s.metric.labels.store), ['north', 'south']);
assert.equal(full[0].points.length, 10);
assert.equal(Number(full[0].points[0].value.int64Value), 100);
assert.equal(Number(full[0].points[0].interval.endTime.seconds), start + 600);
assert.equal(full[0].metricKind, 'CUMULATIVE');
assert.equal(full[0].valueType, 'INT64');

const [headers] = await client.listTimeSeries({...request, view: 'HEADERS'}, call);
assert.deepEqual(headers.map(s => s.points.length), [0, 0]);

// In pages, which the client asks for by itself.
let points = 0;
for await (const s of client.listTimeSeriesAsync({...request, pageSize: 3}, call)) {
  points += s.points.length;
}
assert.equal(points, 20);

// Of the sales in each half of both stores, 150 and 150, the sum.
const [[sum]] = await client.listTimeSeries({
  ...request,
  aggregation: {
    alignmentPeriod: {seconds: 300}, perSeriesAligner: 'ALIGN_DELTA', crossSeriesReducer: 'REDUCE_SUM',
    groupByFields: ['resource.labels.project_id'],
  },
  secondaryAggregation: {alignmentPeriod: {seconds: 600}, perSeriesAligner: 'ALIGN_SUM'},
}, call);
assert.equal(sum.metricKind, 'DELTA');
assert.equal(Number(sum.points[0].value.int64Value), 300);

// The aligners that are for a counter, by the client's own names for them, and
// two that are not.
const aligners = {ALIGN_NONE: 100, ALIGN_DELTA: 100, ALIGN_RATE: 100 / 600, ALIGN_INTERPOLATE: 100, ALIGN_NEXT_OLDER: 100};
const known = Object.keys(monitoring.protos.google.monitoring.v3.Aggregation.Aligner);
for (const [perSeriesAligner, want] of Object.entries(aligners)) {
  assert.ok(known.includes(perSeriesAligner), perSeriesAligner);
  const aggregation = perSeriesAligner === 'ALIGN_NONE' ? {perSeriesAligner} : {perSeriesAligner, alignmentPeriod: {seconds: 600}};
  const ask = client.listTimeSeries({...request, filter: `metric.type = "${type}" AND metric.labels.store = "north"`, aggregation}, call);
  if (['ALIGN_INTERPOLATE', 'ALIGN_NEXT_OLDER'].includes(perSeriesAligner)) {
    assert.match((await fails(ask)).message, /the aligner/);
    continue;
  }
  const [[s]] = await ask;
  const v = s.points[0].value;
  assert.ok(Math.abs(Number(v.doubleValue ?? v.int64Value) - want) < 1e-9, perSeriesAligner);
}

const [descriptors] = await client.listMetricDescriptors({name: project, filter: 'metric.type = starts_with("custom.googleapis.com/")'}, call);
assert.deepEqual(descriptors.map(d => d.type), [type]);
const [resources] = await client.listMonitoredResourceDescriptors({name: project, pageSize: 2}, call);
assert.equal(resources.length, 5);
const [global] = await client.getMonitoredResourceDescriptor({name: `${project}/monitoredResourceDescriptors/global`}, call);
assert.equal(global.labels[0].key, 'project_id');

// The library makes an error's code of the answer: over REST it is that of HTTP.
const {INVALID_ARGUMENT, PERMISSION_DENIED, NOT_FOUND} = transport === 'rest' ?
  {INVALID_ARGUMENT: 400, PERMISSION_DENIED: 403, NOT_FOUND: 404} : grpc.status;

// A point that is refused, and the good one beside it, which is kept.
const partly = await fails(client.createTimeSeries({
  name: project,
  timeSeries: [['east', 10], ['west', -5]].map(([store, minute]) => ({
    metric: {type, labels: {store}},
    resource: {type: 'global', labels: {project_id: 'default'}},
    points: [{interval: {startTime: stamp(-1), endTime: stamp(minute)}, value: {int64Value: 1}}],
  })),
}, call));
assert.equal(partly.code, INVALID_ARGUMENT, partly.message);
assert.match(partly.message, /timeSeries\[1\]/);
const [east] = await client.listTimeSeries({...request, filter: `metric.type = "${type}" AND metric.labels.store = monitoring.regex.full_match("east|west")`}, call);
assert.deepEqual(east.map(s => s.metric.labels.store), ['east']);

const other = await fails(client.listTimeSeries({name: 'projects/other', filter: request.filter, interval}, call));
assert.equal(other.code, PERMISSION_DENIED, other.message);
const groups = await fails(client.listTimeSeries({...request, filter: 'group.id = "x"'}, call));
assert.equal(groups.code, INVALID_ARGUMENT);
assert.match(groups.message, /there are no groups/);

await client.deleteMetricDescriptor({name: made.name}, call);
assert.equal((await fails(client.getMetricDescriptor({name: made.name}, call))).code, NOT_FOUND);
await client.close();
console.log(`${transport}: all is as with Google's service`);
