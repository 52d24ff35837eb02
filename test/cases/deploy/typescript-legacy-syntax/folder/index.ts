namespace A { export const one = 1 }
export const handler = () => A.one;
