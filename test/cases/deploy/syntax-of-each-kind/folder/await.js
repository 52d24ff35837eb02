export const now = await Promise.resolve(1);
