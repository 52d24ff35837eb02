console.log('while loading');
export const handler = async (event, context) => {
  if (context.request.path === '/flood') {
    for (let line = 0; line < 3000; line++) console.log(`${line} ${'x'.repeat(5000)}`);
    return process.memoryUsage().arrayBuffers;
  }
  if (context.request.path === '/huge') {
    console.log('ä'.repeat(10_000_000));
    return 'printed';
  }
  if (context.request.path === '/leftover') {
    setTimeout(() => console.log('leftover'), 10);
    return 'answered';
  }
  console.log('out %d', 1, { a: 1 });
  process.stdout.write('no newline ');
  process.stdout.write(Buffer.from('bytes ☃\n'), () => console.log('written'));
  process.stderr.write('6c61746e310a', 'hex');
  await new Promise((resolve) => setTimeout(resolve, Number(event.wait ?? 1)));
  console.error('err', event.name);
  return 'printed';
};
