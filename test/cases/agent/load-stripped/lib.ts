export const typeless = 'js→ts';
