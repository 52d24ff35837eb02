import { fail } from './lib/fail.mjs';
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
class Odd extends Error { name = 'OddError'; }
const never = new Promise(() => {});
const hostile = new Proxy(new Error('hostile'), { get() { throw new Error('no'); } });
const endings = {
  '/throw': () => fail('it broke'),
  '/reject': async () => { await later(1); throw new Odd('rejected'); },
  '/string': () => { throw 'a string'; },
  '/object': () => { throw { code: 7 }; },
  '/undefined': () => Promise.reject(),
  '/hostile': () => { throw hostile; },
  '/exit': () => { console.log('last line'); process.exit(7); },
  '/uncaught': () => { setTimeout(() => fail('from a timer'), 1); return never; },
  '/unhandled': () => { Promise.reject(new Error('nobody listens')); return never; },
  '/unhandled-string': () => { Promise.reject('plain'); return never; },
  '/after': () => { setTimeout(() => fail('after the answer'), 20); return 'answered'; },
  '/wait': (context) => {
    context.waitUntil(later(30).then(() => console.log('waited')));
    context.waitUntil(Promise.reject(new Error('late failure')));
    return 'answered';
  },
  '/signal': (context) => new Promise((resolve) => context.signal.addEventListener('abort', () => {
    console.log(`aborted: ${context.signal.reason.name}`);
    resolve('too late');
  })),
  '/backlog-exit': async () => {
    for (let line = 0; line < 9; line++) { console.log(String(line).repeat(99_999)); await later(1); }
    process.exit(7);
  },
  '/loop-exit': () => { process.exitCode = 4; process.exit(); },
  '/never': () => never,
};
export const handler = (event, context) => endings[context.request.path](context);
