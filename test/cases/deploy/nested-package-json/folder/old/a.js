with (Math) exports.a = cos(PI);
