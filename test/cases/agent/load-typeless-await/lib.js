export const value = await 'found out';
