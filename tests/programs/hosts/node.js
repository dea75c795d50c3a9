// node.js LIBRARY...: opens addons while worker threads execute the first one's sites. Says what came of it as tests/common reads it.
'use strict';
const {Worker, isMainThread, workerData} = require('worker_threads');
const {writeSync} = require('fs');
const {RTLD_NOW} = require('os').constants.dlopen;

const [CALL, SITES, BOUND, DURING, END, TELL] = [0, 1, 2, 3, 4, 5];
const WORKERS = 2;

function open(path) {
  const module = {exports: {}};
  process.dlopen(module, path, RTLD_NOW);
  return module.exports;
}

// What the threads share: whether it is over, and for each of them how often it called, and how much was wrong.
const OVER = 0, calls = at => 1 + 2 * at, wrong = at => 2 + 2 * at;

if (isMainThread) {
  const paths = process.argv.slice(2);
  const asks = [open(paths[0])];
  const shared = new Int32Array(new SharedArrayBuffer(4 * (1 + 2 * WORKERS)));
  const all = Array.from({length: WORKERS}, (_, at) => at);
  const workers = all.map(at => new Worker(__filename, {workerData: {path: paths[0], shared, at}}));
  const ended = Promise.all(workers.map(worker => new Promise((resolve, reject) => {
    worker.on('error', reject).on('exit', resolve);
  })));
  const goneOn = before => {
    if (all.every(at => Atomics.load(shared, calls(at)) !== before[at])) return Promise.resolve();
    return new Promise(resolve => setImmediate(resolve)).then(() => goneOn(before));
  };
  const numbers = () => all.map(at => Atomics.load(shared, calls(at)));

  (async () => {
    let mistakes = 0;
    await goneOn(all.map(() => 0));
    for (const path of paths.slice(1)) {
      const before = numbers();
      const ask = open(path);
      asks.push(ask);
      mistakes += ask(CALL);
      await goneOn(before);
    }
    Atomics.store(shared, OVER, 1);
    await ended;
    const say = (name, value) => writeSync(1, `result\t${name}\t${value}\n`);
    say('calls', Math.min(...numbers()));
    asks.forEach((ask, at) => {
      say(`sites ${at}`, ask(SITES));
      say(`bound ${at}`, ask(BOUND));
      say(`during ${at}`, ask(DURING));
      mistakes += ask(END);
    });
    say('wrong', all.reduce((sum, at) => sum + Atomics.load(shared, wrong(at)), mistakes));
    asks[0](TELL);
  })();
} else {
  const {path, shared, at} = workerData;
  const ask = open(path);
  while (!Atomics.load(shared, OVER)) {
    const text = 'abc'.repeat(10);
    Atomics.add(shared, wrong(at), ask(CALL) + (text.length !== 30 ? 1 : 0));
    Atomics.add(shared, calls(at), 1);
  }
}
