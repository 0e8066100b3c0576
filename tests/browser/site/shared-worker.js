importScripts('/wsloop.js');

onconnect = ({ ports: [port] }) => {
  const loop = new WSLoop('/ws/workers?subscribe-broadcast&publish-broadcast&echo');
  loop.addEventListener('open', () => loop.send('from the shared worker'));
  loop.addEventListener('message', ({ data }) => port.postMessage(data));
};
