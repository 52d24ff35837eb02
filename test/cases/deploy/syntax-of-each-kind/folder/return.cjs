#!/usr/bin/env node
if (!module.parent) return;
exports.a = 1;
