export const home = <p/>;
