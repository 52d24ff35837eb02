const f = 1, T = 2, x = 3;
export const handler = () => f<T>(x);
