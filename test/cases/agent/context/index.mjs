export const handler = async (event, context) => {
  'use strict';
  let frozen = false;
  try { context.id = 'other'; } catch { frozen = true; }
  const { remainingTimeMs } = context;
  return {
    frozen,
    id: context.id,
    function: context.function,
    version: context.version,
    memoryBytes: context.memoryBytes,
    deadlineMs: context.deadlineMs,
    remaining: remainingTimeMs() > 0 && remainingTimeMs() <= 30_000 && context.getRemainingTimeInMillis() > 0,
    aborted: context.signal.aborted,
    request: context.request,
  };
};
