module.exports = { value: 'common' };
