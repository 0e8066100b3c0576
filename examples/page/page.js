// Opens a WebSocket where the page comes from, sends what is typed, and shows what arrives.
const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
const socket = new WebSocket(`${scheme}//${location.host}/foobar`);
const log = (text) => document.getElementById('log').append(text, '\n');

socket.addEventListener('open', () => log('open'));
socket.addEventListener('message', (event) => log(event.data));
socket.addEventListener('close', (event) => log(`closed: ${event.code} ${event.reason}`));
document.getElementById('form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = document.getElementById('text');
  socket.send(text.value);
  text.value = '';
});
