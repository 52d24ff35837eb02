export const handler = () => 'a fresh instance';
