const a: number = 1;
const a: number = 2;
