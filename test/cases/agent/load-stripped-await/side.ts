export const side = await null;
