process.on('uncaughtException', (error) => console.log(`own listener: ${error.message}`));
export const handler = () => new Promise((resolve) => {
  setTimeout(() => { setTimeout(resolve, 1, 'went on'); throw new Error('mine'); }, 1);
});
