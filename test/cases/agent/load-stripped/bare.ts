export const bare = 'bare';
