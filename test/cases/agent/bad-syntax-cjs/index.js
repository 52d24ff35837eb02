const path = require('node:path');

exports.handler = () => path.join('a' 'b');
