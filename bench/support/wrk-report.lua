-- Prints the summary of a run of wrk as one line of JSON; wrk's own text has no 95th percentile. Read by wrk.ts.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50Us":%.1f,"p95Us":%.1f,"p99Us":%.1f,"maxUs":%.1f,"statusErrors":%d,"socketErrors":%d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
