console.error('cannot go on');
process.exit(3);
