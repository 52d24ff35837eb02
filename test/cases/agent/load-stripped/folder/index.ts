export const indexed = 'index';
