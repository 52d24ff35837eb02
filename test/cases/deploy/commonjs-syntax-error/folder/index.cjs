const fs = require("node:fs");

exports.handler = async () => {
  return { ok: true ;
};
