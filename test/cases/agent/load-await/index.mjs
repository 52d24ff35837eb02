const name = await new Promise((resolve) => setImmediate(resolve, 'awaited'));
export const handler = () => name;
