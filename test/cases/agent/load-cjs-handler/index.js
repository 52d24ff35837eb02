exports.handler = async () => `cjs in ${require('node:path').basename(__dirname)}`;
