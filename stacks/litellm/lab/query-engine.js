#!/usr/bin/env node
// Prisma's query engine for a lab: the WebAssembly build inside @prisma/client, behind the HTTP interface of the native
// program, whose registry no lab has. The engine is Prisma's own; here its clients' GraphQL becomes the JSON that this
// build of it takes, and its answers lose the tags of that.
const fs = require('fs');
const http = require('http');
const { parse } = require('graphql');
const pg = require('pg');
const { PrismaPg } = require('@prisma/adapter-pg');
const { bindAdapter } = require('@prisma/driver-adapter-utils');
const { version } = require('@prisma/client/package.json');
const engine = require('@prisma/client/runtime/query_engine_bg.postgresql.js');

const WASM = '@prisma/client/runtime/query_engine_bg.postgresql.wasm';
const ACTIONS = [ // the longer of two that begin alike comes first
  'createOne', 'createMany', 'updateOne', 'updateMany', 'upsertOne', 'deleteOne', 'deleteMany', 'findUniqueOrThrow',
  'findFirstOrThrow', 'findUnique', 'findFirst', 'findMany', 'aggregate', 'groupBy', 'queryRaw', 'executeRaw',
];
const DATABASE = 3; // the descriptor that its address comes on
const TRACE = JSON.stringify({});
// The adapter knows no column of type char, name, regclass, void or name[]: it gets text, or an array of it.
const AS_TEXT = { 18: 25, 19: 25, 2205: 25, 2278: 25, 1003: 1009 };

/** Each model's fields and their types, as the schema tells. */
function fieldsOf(schema) {
  const models = [...schema.matchAll(/^model (\w+) \{([^]*?)^\}/gm)];
  return Object.fromEntries(models.map(([, name, body]) =>
    [name, Object.fromEntries([...body.matchAll(/^\s+(\w+)\s+(\w+)/gm)].map((m) => [m[1], m[2]]))]));
}

/** Translates one GraphQL query into the engine's JSON. */
class Translator {
  constructor(schema) {
    this.models = fieldsOf(schema);
  }

  query(text) {
    const node = parse(text).definitions[0].selectionSet.selections[0];
    const action = ACTIONS.find((one) => node.name.value.startsWith(one));
    const modelName = node.name.value.slice(action.length) || undefined;
    const query = { arguments: this.arguments(node, modelName), selection: this.selection(node) };
    return { body: { action, modelName, query }, key: (node.alias || node.name).value };
  }

  arguments(node, model) {
    return Object.fromEntries(node.arguments.map((one) => [one.name.value, this.value(one.value, model)]));
  }

  selection(node) {
    const fields = node.selectionSet ? node.selectionSet.selections : [];
    return Object.fromEntries(fields.map((one) => {
      const whole = one.selectionSet || one.arguments.length;
      return [one.name.value, whole ? { arguments: this.arguments(one), selection: this.selection(one) } : true];
    }));
  }

  value(node, model) {
    switch (node.kind) {
      case 'IntValue': case 'FloatValue': return Number(node.value);
      case 'NullValue': return null;
      case 'ListValue': return node.values.map((one) => this.value(one, model));
      case 'ObjectValue': return Object.fromEntries(node.fields.map((one) => this.field(one, model)));
      default: return node.value;
    }
  }

  field(node, model) {
    const type = (this.models[model] || {})[node.name.value];
    return [node.name.value, type === 'Json' ? this.json(node.value) : this.value(node.value, this.models[type] ? type : model)];
  }

  json(node) {
    const holds = (field) => ['equals', 'not', 'set'].includes(field.name.value);
    switch (node.kind) {
      case 'StringValue': return { $type: 'Json', value: node.value };
      case 'ListValue': return node.values.map((one) => this.json(one));
      case 'ObjectValue': return Object.fromEntries(node.fields.map((one) =>
        [one.name.value, holds(one) ? this.json(one.value) : this.value(one.value)]));
      default: return this.value(node);
    }
  }
}

function untagged(value) {
  if (Array.isArray(value)) return value.map(untagged);
  if (!value || typeof value !== 'object') return value;
  if ('$type' in value) return untagged(value.value);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, untagged(one)]));
}

function answer(result, key) {
  return result.errors ? { errors: result.errors } : { data: { [key]: untagged(Object.values(result.data)[0]) } };
}

/** A pool for a database URL with Prisma's own words for TLS. */
function poolFor(text) {
  const url = new URL(text);
  const words = url.searchParams;
  const ca = words.get('sslcert');
  const ssl = ca ? { ca: fs.readFileSync(ca, 'utf8'), rejectUnauthorized: words.get('sslaccept') === 'strict' } : undefined;
  const max = Number(words.get('connection_limit') || 10);
  const schema = words.get('schema') || 'public';
  url.search = '';
  const pool = new pg.Pool({ connectionString: url.href, max, ssl });
  pool.on('error', (error) => console.error(`query engine: a connection ended: ${error.message}`));
  return bindAdapter(new PrismaPg(pool, { schema }));
}

function textColumns() {
  const known = (result) => {
    for (const field of (result && result.fields) || []) field.dataTypeID = AS_TEXT[field.dataTypeID] || field.dataTypeID;
    return result;
  };
  for (const type of [pg.Client, pg.Pool]) {
    const { query } = type.prototype;
    type.prototype.query = function (...given) {
      const result = query.apply(this, given);
      return result && result.then ? result.then(known) : result;
    };
  }
}

async function started(datamodel) {
  textColumns();
  const wasm = new WebAssembly.Module(fs.readFileSync(require.resolve(WASM)));
  engine.__wbg_set_wasm(new WebAssembly.Instance(wasm, { './query_engine_bg.js': engine }).exports);
  const settings = {
    datamodel, logLevel: 'error', logQueries: false, ignoreEnvVarErrors: true, datasourceOverrides: {}, env: process.env,
    engineProtocol: 'json', configDir: '.', enableTracing: false,
  };
  const found = new engine.QueryEngine(settings, () => {}, poolFor(fs.readFileSync(DATABASE, 'utf8').trim()));
  await found.connect(TRACE);
  return found;
}

/** What the native program answers a request. */
async function handled(running, translator, request, body) {
  const within = request.headers['x-transaction-id'];
  const [, transaction, end] = /^\/transaction\/([^/]+)(?:\/(\w+))?$/.exec(request.url) || [];
  if (request.url === '/status') return { status: 'ok' };
  if (request.url.startsWith('/metrics')) return { counters: [], gauges: [], histograms: [] };
  if (transaction === 'start') return JSON.parse(await running.startTransaction(body, TRACE));
  if (transaction) {
    const how = end === 'commit' ? 'commitTransaction' : 'rollbackTransaction';
    return JSON.parse((await running[how](transaction, TRACE)) || '{}');
  }
  const asked = JSON.parse(body);
  const ask = async (what) => JSON.parse(await running.query(JSON.stringify(what), TRACE, within));
  if (!asked.batch) {
    const one = translator.query(asked.query);
    return answer(await ask(one.body), one.key);
  }
  const parts = asked.batch.map((one) => translator.query(one.query));
  const result = await ask({ batch: parts.map((one) => one.body), transaction: asked.transaction ? {} : undefined });
  return result.errors ? result : { batchResult: result.batchResult.map((one, index) => answer(one, parts[index].key)) };
}

/** An error as the native program words it. */
function refused(error) {
  const message = String(error.message || error);
  let known;
  try { known = JSON.parse(message); } catch { known = null; }
  const told = known && known.error_code ? known : { is_panic: false, message, backtrace: null };
  return { errors: [{ error: message, user_facing_error: told }] };
}

async function main() {
  const datamodel = fs.readFileSync(process.env.PRISMA_DML_PATH, 'utf8');
  const running = await started(datamodel);
  const translator = new Translator(datamodel);
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const result = await handled(running, translator, request, body).catch(refused);
    response.writeHead(result.error_code ? 400 : 200, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(result));
  });
  server.listen(Number(process.argv[process.argv.indexOf('-p') + 1]), '127.0.0.1');
}

if (process.argv.includes('--version')) console.log(`query-engine ${version}`);
else main().catch((error) => { console.error(`query engine: ${error.message}`); process.exit(1); });
