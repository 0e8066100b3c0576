/** As page.mjs, as pages did it. */

var seen = [];

function note(entry) {
  entry.at = performance.now();
  seen.push(entry);
}

document.addEventListener('securitypolicyviolation', function (event) {
  note({ type: 'violation', violatedDirective: event.violatedDirective });
});

var loop = WS4Redis({
  uri: JSON.parse(new URLSearchParams(location.search).get('loop'))[0],
  receive_message: function (data) {
    note({ type: 'message', data: data });
  },
});
