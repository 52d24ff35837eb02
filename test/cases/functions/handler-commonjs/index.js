const { createHash } = require('node:crypto');

exports.handler = async (event, context) => ({
  event,
  digest: createHash('sha256').update(JSON.stringify(event)).digest('hex'),
  request: context.request,
  id: context.id,
  remaining: context.getRemainingTimeInMillis(),
});
