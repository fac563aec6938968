#!/usr/bin/env node
// Old syntax on purpose: a Node.js too old to run the program must still be able to read this file.

var version = process.versions.node.split('.').map(Number);
var supported = version[0] > 20 || (version[0] === 20 && version[1] >= 19);

if (supported) {
  var Module = require('module');
  if (Module.enableCompileCache) Module.enableCompileCache();
  require('../dist/main.js');
} else {
  process.stderr.write(
    'mcp-latchkey needs Node.js 20.19 or newer; this is ' +
      process.version +
      ' (' +
      process.execPath +
      '). Install a newer one from https://nodejs.org and restart the client.\n',
  );
  process.exitCode = 1;
}
