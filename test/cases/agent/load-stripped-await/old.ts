module.exports = { value: typeof require };
