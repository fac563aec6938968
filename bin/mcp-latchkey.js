#!/usr/bin/env node
// Old syntax on purpose: a Node.js too old to run the program must still be able to read this file.
'use strict';

var version = process.versions.node.split('.').map(Number);

if (version[0] > 20 || (version[0] === 20 && version[1] >= 19)) {
  require('../dist/start.js');
} else {
  refuse(
    'mcp-latchkey requires Node.js 20.19 or later, but this is ' +
      process.version +
      ' (' +
      process.execPath +
      '). Install Node.js from https://nodejs.org, then restart the client.',
  );
}

// Most clients show their user nothing of stderr: the first request gets the reason as its error.
function refuse(why) {
  process.stderr.write(why + '\n');
  var text = '';
  function exit() {
    process.exit(1);
  }
  if (process.stdin.isTTY) exit();
  process.stdout.on('error', exit);
  process.stdin.setEncoding('utf8');
  process.stdin.on('end', exit);
  process.stdin.on('data', function (chunk) {
    text += chunk;
    var lines = text.split('\n');
    text = lines.pop();
    lines.forEach(function (line) {
      var id = idOfRequest(line);
      if (id === undefined) return;
      var error = {
        code: -32005,
        message: 'Invalid configuration: ' + why,
        data: { reason: 'misconfigured', hint: why, retryable: false },
      };
      process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id: id, error: error }) + '\n', exit);
    });
  });
  setTimeout(exit, 2000);
}

function idOfRequest(line) {
  try {
    var message = JSON.parse(line);
    return typeof message.method === 'string' ? message.id : undefined;
  } catch (error) {
    return undefined;
  }
}
