// Sends where the pointer is, and draws where all dots are.
const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/`);
const field = document.getElementById('field');
const pen = field.getContext('2d');

socket.addEventListener('message', (event) => {
  const dots = JSON.parse(event.data || '[]');
  document.getElementById('count').textContent = dots.length;
  pen.clearRect(0, 0, field.width, field.height);
  pen.strokeRect(0, 0, field.width, field.height);
  for (const [x, y] of dots) {
    pen.fillRect(x / 2 - 4, y / 2 - 4, 8, 8);
  }
});
field.addEventListener('pointermove', (event) => {
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(`${Math.round(event.offsetX * 2)} ${Math.round(event.offsetY * 2)}`);
  }
});
