enum A { one }
export const handler = () => A.;
